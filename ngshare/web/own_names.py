"""By which names a stand-alone ngshare may be called.

It believes whatever name a request gives, so a page of another site must not reach it
through a visitor's browser. Such a page can have its own name resolve to this machine
(DNS rebinding), and is of the same site then; but the browser still says the name.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterable


class OwnNames:
    """What a request may call a service that listens at ``host``.

    Always localhost, loopback addresses, ``host`` itself and the ``further`` names. When
    ``host`` opens it to the network, also every IP address, because no site can have that
    for its name, and the machine's own names.
    """

    def __init__(self, host: str = "127.0.0.1", further: Iterable[str] = ()) -> None:
        self._names = {"localhost", *map(_plain, (host, *further))}
        self._open = not (_plain(host) == "localhost" or _is_loopback(_plain(host)))
        if self._open:
            own = socket.gethostname()
            self._names |= {_plain(name) for name in (own, f"{own}.local", socket.getfqdn())}
        self._names -= {""}

    def include(self, host: str) -> bool:
        """Whether a ``Host`` header, with or without a port, names this service."""
        name = _plain(_without_port(host))
        if name in self._names or _is_loopback(name):
            return True
        return self._open and _address(name) is not None


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _plain(name: str) -> str:
    return name.strip().lower().removesuffix(".")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name)
    return None


def _is_loopback(name: str) -> bool:
    address = _address(name)
    return address is not None and address.is_loopback
