"""What the service believes of the proxy in front of it."""

from __future__ import annotations

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from ngshare.web.proxy import apply_forwarded_headers, is_network, parse_networks


@pytest.mark.parametrize(
    ("headers", "address", "protocol"),
    [
        ({}, "127.0.0.1", "http"),
        ({"X-Forwarded-For": "10.0.0.7"}, "10.0.0.7", "http"),
        ({"X-Forwarded-For": "1.2.3.4, 10.0.0.7"}, "10.0.0.7", "http"),
        ({"X-Forwarded-For": "1.2.3.4,::ffff:10.0.0.7"}, "10.0.0.7", "http"),
        # A client wrote both, and the Hub's proxy added to one of them.
        ({"X-Forwarded-For": "6.6.6.6,10.0.0.7", "X-Real-Ip": "6.6.6.6"}, "10.0.0.7", "http"),
        ({"X-Real-Ip": "2001:db8::1"}, "2001:db8::1", "http"),
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
    request = make_request(headers)
    apply_forwarded_headers(request)
    assert (request.remote_ip, request.protocol) == (address, protocol)


@pytest.mark.parametrize(
    ("said", "address"),
    [
        # What an ingress in front of the Hub's proxy adds, and the Hub's proxy after it.
        ("198.51.100.9,10.0.0.7", "198.51.100.9"),
        ("6.6.6.6, 198.51.100.9,10.0.0.7", "198.51.100.9"),
        ("6.6.6.6, 198.51.100.9,10.0.0.7,::ffff:10.1.2.3,2001:db8::5", "198.51.100.9"),
        ("198.51.100.9", "198.51.100.9"),
        ("10.0.0.7", "10.0.0.7"),
        ("anything at all,10.0.0.7", "10.0.0.7"),
    ],
)
def test_trusted_proxies_are_looked_past(said: str, address: str) -> None:
    request = make_request({"X-Forwarded-For": said, "X-Real-Ip": "6.6.6.6"})
    apply_forwarded_headers(request, parse_networks(["10.0.0.0/8", "2001:db8::5"]))
    assert request.remote_ip == address


def test_what_a_network_is() -> None:
    assert all(map(is_network, ["10.0.0.7", "10.0.0.7/8", "::1", "2001:db8::/32"]))
    assert not any(map(is_network, ["", "ingress", "10.0.0.0/33", "10.0.0"]))


def make_request(headers: dict[str, str]) -> HTTPServerRequest:
    start = RequestStartLine("GET", "/", "HTTP/1.1")
    request = HTTPServerRequest(start_line=start, headers=HTTPHeaders({"Host": "h", **headers}))
    request.remote_ip, request.protocol = "127.0.0.1", "http"
    return request
