"""What the service believes of the proxy in front of it."""

from __future__ import annotations

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from ngshare.web.proxy import believe_proxy


@pytest.mark.parametrize(
    ("headers", "address", "protocol"),
    [
        ({}, "127.0.0.1", "http"),
        ({"X-Forwarded-For": "10.0.0.7"}, "10.0.0.7", "http"),
        ({"X-Forwarded-For": "1.2.3.4, 10.0.0.7"}, "10.0.0.7", "http"),
        ({"X-Forwarded-For": "1.2.3.4", "X-Real-Ip": "2001:db8::1"}, "2001:db8::1", "http"),
        ({"X-Forwarded-For": "nowhere\tat all"}, "127.0.0.1", "http"),
        ({"X-Forwarded-For": "fe80::1%) 0ms\x9bforged"}, "127.0.0.1", "http"),
        ({"X-Forwarded-For": ""}, "127.0.0.1", "http"),
        ({"X-Forwarded-Proto": "https"}, "127.0.0.1", "https"),
        ({"X-Forwarded-Proto": "https,http"}, "127.0.0.1", "http"),
        ({"X-Forwarded-Proto": "https", "X-Scheme": "http"}, "127.0.0.1", "http"),
        ({"X-Forwarded-Proto": "gopher"}, "127.0.0.1", "http"),
    ],
)
def test_what_is_believed(headers: dict[str, str], address: str, protocol: str) -> None:
    start = RequestStartLine("GET", "/", "HTTP/1.1")
    request = HTTPServerRequest(start_line=start, headers=HTTPHeaders({"Host": "h", **headers}))
    request.remote_ip, request.protocol = "127.0.0.1", "http"
    believe_proxy(request)
    assert (request.remote_ip, request.protocol) == (address, protocol)
