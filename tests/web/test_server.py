"""How the service's own server sets up a connection."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.tcpclient import TCPClient
from tornado.testing import bind_unused_port
from tornado.web import Application

from ngshare.web.server import make_server

pytestmark = pytest.mark.gen_test


async def test_no_reply_of_a_connection_waits_for_more_to_be_sent(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nagle's algorithm keeps a small packet back until the one before it has arrived."""
    taken: list[IOStream] = []
    handle = HTTPServer.handle_stream

    def note(server: HTTPServer, stream: IOStream, address: Any) -> None:
        taken.append(stream)
        handle(server, stream, address)

    monkeypatch.setattr(HTTPServer, "handle_stream", note)
    listening, port = bind_unused_port()
    server = make_server(app, connections=10)
    server.add_socket(listening)
    client = await TCPClient().connect("127.0.0.1", port)
    try:
        for _ in range(2):
            await client.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = await client.read_until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            [length] = [
                int(line.partition(b":")[2])
                for line in head.lower().splitlines()
                if line.startswith(b"content-length:")
            ]
            await client.read_bytes(length)
            [stream] = taken
            sends_at_once = stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert sends_at_once
    finally:
        client.close()
        server.stop()
        await server.close_all_connections()
