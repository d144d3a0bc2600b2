"""The HTTP service: identify, parse, run one action, reply. The rules are in ``actions/``."""
