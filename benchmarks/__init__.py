"""How fast ngshare is, beside the peer and beside the least that such a service must do.

``make bench`` runs all of it; ``python -m benchmarks --help`` says what can be chosen.
Nothing here is part of the service.
"""
