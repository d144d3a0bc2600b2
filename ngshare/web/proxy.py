"""What the proxy in front of the service says of a request: who sent it, and how."""

from __future__ import annotations

import contextlib
import ipaddress

from tornado.httputil import HTTPServerRequest


def believe_proxy(request: HTTPServerRequest) -> None:
    """Set ``remote_ip`` and ``protocol`` to what the nearest proxy says, if it does.

    Tornado can do this itself (``xheaders``), but asks the system's resolver about the
    address, in every request. The address is for the log only, nothing is allowed by it;
    the protocol decides whether cookies are marked secure.
    """
    headers = request.headers
    address = headers.get("X-Real-Ip") or headers.get("X-Forwarded-For")
    if address:
        # What is no address is not believed.
        with contextlib.suppress(ValueError):
            # Of several the last was added by the nearest proxy.
            found = ipaddress.ip_address(address.rpartition(",")[2].strip())
            if not getattr(found, "scope_id", None):  # which is any text, after a percent sign
                request.remote_ip = str(found)
    protocol = headers.get("X-Scheme") or headers.get("X-Forwarded-Proto")
    if protocol and (last := protocol.rpartition(",")[2].strip()) in ("http", "https"):
        request.protocol = last
