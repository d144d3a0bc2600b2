"""Read the client's address and protocol from the headers of the proxies in front."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable, Sequence

from tornado.httputil import HTTPServerRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_network(text: str) -> bool:
    """Return whether a text is an IP address, or a network such as ``10.0.0.0/8``."""
    with contextlib.suppress(ValueError):
        return bool(parse_networks([text]))
    return False


def parse_networks(texts: Iterable[str]) -> list[Network]:
    """Parse IP addresses and networks. Raises ValueError."""
    return [ipaddress.ip_network(text, strict=False) for text in texts]


def apply_forwarded_headers(request: HTTPServerRequest, trusted: Sequence[Network] = ()) -> None:
    """Set a request's ``remote_ip`` and ``protocol`` from the headers of the nearest proxy.

    trusted: proxies in front of the Hub's proxy.

    The address is used for the log and for the limit of rejected tokens, never for a permission;
    the protocol decides whether cookies are marked secure. Tornado can do the same (``xheaders``),
    but asks the system's resolver about the address in every request.

    The Hub's proxy appends the address that it sees to ``X-Forwarded-For``. It passes on earlier
    addresses, and ``X-Real-Ip``, which a client may have made up. So the last address counts, or
    the one before it if the last is a trusted proxy. ``X-Real-Ip`` counts only if
    ``X-Forwarded-For`` is missing.
    """
    headers = request.headers
    forwarded = headers.get("X-Forwarded-For") or headers.get("X-Real-Ip") or ""
    for entry in reversed(forwarded.split(",")) if forwarded else ():
        address = _parse_address(entry.strip())
        if address is None:  # made up by a client, as everything before it
            break
        request.remote_ip = str(address)
        if not any(address in network for network in trusted):
            break
    protocol = headers.get("X-Scheme") or headers.get("X-Forwarded-Proto")
    if protocol and (last := protocol.rpartition(",")[2].strip()) in ("http", "https"):
        request.protocol = last


def _parse_address(text: str) -> Address | None:
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(text)
        if isinstance(address, ipaddress.IPv6Address):
            if address.scope_id:  # any text after a percent sign
                return None
            return address.ipv4_mapped or address  # Node maps them when it listens on ::
        return address
    return None
