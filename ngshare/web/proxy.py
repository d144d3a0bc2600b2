"""What the proxy in front of the service says of a request: who sent it, and how."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable, Sequence

from tornado.httputil import HTTPServerRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_network(text: str) -> bool:
    """Whether this is an address, or a network such as ``10.0.0.0/8``."""
    with contextlib.suppress(ValueError):
        return bool(networks([text]))
    return False


def networks(texts: Iterable[str]) -> list[Network]:
    """Addresses and networks, read. Raises ValueError when one is none."""
    return [ipaddress.ip_network(text, strict=False) for text in texts]


def believe_proxy(request: HTTPServerRequest, trusted: Sequence[Network] = ()) -> None:
    """Set ``remote_ip`` and ``protocol`` to what the nearest proxy says, if it does.

    Tornado can do this itself (``xheaders``), but asks the system's resolver about the
    address, in every request. The address is for the log and for the
    limit of rejected tokens, nothing is allowed by it; the protocol decides whether cookies are
    marked secure.

    The Hub's proxy adds the address that it sees to ``X-Forwarded-For``, at the end; what
    stands before, and ``X-Real-Ip``, it passes on as it came, and a client may have written
    anything there. So the last address counts, or, where that is one of the ``trusted``
    proxies in front of the Hub's, the one before it. ``X-Real-Ip`` counts only where the
    other header is missing.
    """
    headers = request.headers
    said = headers.get("X-Forwarded-For") or headers.get("X-Real-Ip") or ""
    for entry in reversed(said.split(",")) if said else ():
        address = _address(entry.strip())
        if address is None:  # what is no address is not believed
            break
        request.remote_ip = str(address)
        if not any(address in network for network in trusted):
            break
    protocol = headers.get("X-Scheme") or headers.get("X-Forwarded-Proto")
    if protocol and (last := protocol.rpartition(",")[2].strip()) in ("http", "https"):
        request.protocol = last


def _address(text: str) -> Address | None:
    with contextlib.suppress(ValueError):
        found = ipaddress.ip_address(text)
        if isinstance(found, ipaddress.IPv6Address):
            if found.scope_id:  # which is any text, after a percent sign
                return None
            return found.ipv4_mapped or found  # as Node writes them where it listens on ::
        return found
    return None
