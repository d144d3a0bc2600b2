"""Servers that ``ngshare doctor`` meets: a service behind a Hub, and proxies with mistakes."""

from __future__ import annotations

import asyncio
import contextlib
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.hubstub import SCOPE, HubStub
from tests.process.site import Site

SERVICE_TOKEN = "the-token-of-the-service"
PREFIX = "/services/ngshare"

Answer = tuple[int, dict[str, str], bytes]


class HubSite:
    """A service behind a Hub. ``url`` is its address."""

    def __init__(self, hub: HubStub, port: int) -> None:
        self.hub = hub
        self.url = f"http://127.0.0.1:{port}{PREFIX}"


@contextlib.contextmanager
def hub_site(folder: Path) -> Iterator[HubSite]:
    """Run a Hub and a service that asks it; ada is an admin, and her token is ``ada-token``."""
    hub = HubStub()
    hub.add(SERVICE_TOKEN, "ngshare", kind="service")
    hub.add("ada-token", "ada")
    hub.add("eve-token", "eve")
    hub.add("no-scope", "ada", scopes=[SCOPE + "-2"])
    loop = asyncio.new_event_loop()

    async def start() -> None:
        hub.start()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(start(), loop).result(60)
    site = Site(folder)
    try:
        server = site.start(
            standalone=False,
            JUPYTERHUB_API_TOKEN=SERVICE_TOKEN,
            JUPYTERHUB_API_URL=hub.api_url,
            JUPYTERHUB_CLIENT_ID="service-ngshare",
            JUPYTERHUB_SERVICE_NAME="ngshare",
            JUPYTERHUB_SERVICE_PREFIX=f"{PREFIX}/",
            JUPYTERHUB_SERVICE_URL="http://127.0.0.1:0",
        )
        yield HubSite(hub, server.port)
    finally:
        site.close()
        asyncio.run_coroutine_threadsafe(hub.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def plain_server() -> Iterator[str]:
    """Run a server that answers TLS as the Hub's proxy does; yield its host and port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    with _running(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def _running(server: socketserver.TCPServer) -> Iterator[int]:
    """Run a server in a thread; yield its port."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def http_server(answer: Callable[[str, str], Answer]) -> Iterator[str]:
    """Run an HTTP server with these answers to a method and a path; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, body = answer(self.command, self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = respond

        def log_message(self, *arguments: Any) -> None:
            """Log nothing."""

    with _running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"http://127.0.0.1:{port}"
