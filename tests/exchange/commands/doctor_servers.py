"""Servers that ``ngshare doctor`` meets: a service behind a Hub, and proxies with mistakes."""

from __future__ import annotations

import asyncio
import contextlib
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

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
def http_server(
    answer: Callable[[str, str], Answer], certificate: Path | None = None
) -> Iterator[str]:
    """Run an HTTP server with these answers to a method and a path; yield its address.

    certificate: a PEM file with a certificate and its key, for HTTPS.
    """

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

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with _running(server) as port:
        yield f"http{'s' if certificate else ''}://127.0.0.1:{port}"


def write_certificate(path: Path) -> None:
    """Write a certificate for 127.0.0.1, which is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(timezone.utc)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
