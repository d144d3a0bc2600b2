"""The HTTP side: parse, identify, run one action, reply. The rules are in ``actions/``."""
