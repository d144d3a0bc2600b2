"""Identify the sender of a request without a Hub, by the parameter ``user``.

A stand-alone service believes every name, so a page of another site must not reach it through a
visitor's browser. Such a page can make its own host name resolve to this machine (DNS rebinding),
and is of the same origin then; but the browser still sends that host name in the header ``Host``.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterable

from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from ngshare.errors import Forbidden, Unauthenticated
from ngshare.web.monitoring.metrics import Metrics


class StandaloneIdentity:
    """Take the caller's name from the parameter ``user``. It proves nothing: for evaluation."""

    reads_fields = True
    login_by_redirect = False

    def __init__(self, names: OwnNames | None = None) -> None:
        self.names = names or OwnNames()

    async def identify(self, handler: RequestHandler) -> str:
        self._refuse_other_sites(handler.request)
        field = getattr(handler, "field", None)
        name = field("user") if field else handler.get_argument("user", None)
        if not name:
            raise Unauthenticated("Please say who you are with the parameter 'user'")
        return str(name)

    async def may_read_metrics(self, handler: RequestHandler) -> bool:
        return False

    def attach(self, metrics: Metrics, check_rate: Callable[[str], None]) -> None:
        """Do nothing: there are no lookups to count or to limit."""

    async def check_hub_connection(self) -> None:
        """Do nothing: there is no Hub."""

    def _refuse_other_sites(self, request: HTTPServerRequest) -> None:
        """Raise Forbidden for a request that a page of another site made a browser send."""
        host = request.headers.get("Host")
        if host is not None and not self.names.include(host):  # every browser sends one
            raise Forbidden(
                "This stand-alone ngshare is not known by the name in the address. Use localhost "
                "or the address where it listens, or add the name to c.Ngshare.host_names in "
                "ngshare_config.py"
            )
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise Forbidden("Pages of other sites may not use this service")


class OwnNames:
    """The host names by which requests may call a service that listens at ``host``.

    They are localhost, loopback addresses, ``host`` itself and the ``further`` names. When the
    service listens to the network, they are also the machine's own names and every IP address:
    no other site can have an IP address as its host name.
    """

    def __init__(self, host: str = "127.0.0.1", further: Iterable[str] = ()) -> None:
        self._names = {"localhost", *map(_plain, (host, *further))}
        self._open = not (_plain(host) == "localhost" or _is_loopback(_plain(host)))
        if self._open:
            own = socket.gethostname()
            self._names |= {_plain(name) for name in (own, f"{own}.local", socket.getfqdn())}
        self._names -= {""}

    def include(self, host: str) -> bool:
        """Return whether a ``Host`` header, with or without a port, names this service."""
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
