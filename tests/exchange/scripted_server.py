"""An HTTP server with replies that a test chooses, for what a service in order never sends."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    """A request that arrived. ``target`` is its path with the query string."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Reply = Callable[[BaseHTTPRequestHandler], None]


class ScriptedServer:
    """Answers each request with the next of ``replies``, and the last one again and again."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/services/ngshare"
        self.replies: list[Reply] = []
        self.requests: list[Request] = []


def answer(status: int, body: Any = b"", **headers: str) -> Reply:
    """Answer with bytes, or with anything else as JSON. ``headers`` have _ in place of -."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "text/html" if isinstance(body, bytes) else "application/json"

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in {"Content-Type": kind, **fields}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        with contextlib.suppress(OSError):
            handler.wfile.write(content)

    return send


def cut(sent: bytes, length: int, status: int = 200, **headers: str) -> Reply:
    """Announce ``length`` bytes of a reply, and close after those of ``sent``."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        handler.wfile.write(sent)
        close(handler)

    return send


def close(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without a reply."""
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.connection.shutdown(socket.SHUT_RDWR)


class QuietServer(ThreadingHTTPServer):
    """A server that prints nothing when a client closes the connection early."""

    def handle_error(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """Run a server in a thread."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.requests.append(Request(self.command, self.path, headers, body))
            reply = script.replies.pop(0) if len(script.replies) > 1 else script.replies[0]
            reply(self)

        do_GET = do_POST = do_PUT = do_DELETE = _reply  # http.server calls them so

        def log_message(self, *_: Any) -> None:
            pass

    server = QuietServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    script = ScriptedServer(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
