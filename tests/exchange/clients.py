"""Clients of a running service, and the folders that they send."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ngshare.exchange.address import Address
from ngshare.exchange.client import ExchangeClient
from ngshare.exchange.connection import Connection
from ngshare.exchange.local_trees import LocalTree, scan_tree
from tests.exchange.running_service import RunningService
from tests.hub.relay import Relay


class RecordingConnection(Connection):
    """A connection that records the method, the first names, and the body of each request."""

    def __init__(self, url: str, user: str, seconds: float) -> None:
        address = Address(url, None, user)
        super().__init__(address, logging.getLogger("tests.exchange"), retry_seconds=seconds)
        self.sent: list[tuple[str, bytes]] = []

    def request(self, method: str, *path: str, **options: Any) -> Any:
        body = options.get("body")
        self.sent.append((f"{method} {'/'.join(path[:2])}", body if body is not None else b""))
        return super().request(method, *path, **options)

    @property
    def requests(self) -> list[str]:
        """The method and the first two names of each request."""
        return [request for request, _ in self.sent]


def client_of(
    service: RunningService | Relay, user: str, *, seconds: float = 20
) -> tuple[ExchangeClient, RecordingConnection]:
    """Return a client of a service, or of the service behind a relay, and its connection."""
    url = f"http://127.0.0.1:{service.port}/api" if isinstance(service, Relay) else service.url
    connection = RecordingConnection(url, user, seconds)
    return ExchangeClient(connection), connection


def local_tree(folder: Path, files: Mapping[str, bytes]) -> LocalTree:
    """Write files into a folder, and return it as a tree."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return scan_tree(folder)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the contents of a folder's files by their paths."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


class LosingRelay(Relay):
    """A relay that closes connections instead of passing on the next ``lost`` replies."""

    lost = 0

    def _pass_on(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        if answers and self.lost:
            source.recv(2**16)  # the service has answered
            self.lost -= 1
            for each in (source, target):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            return
        super()._pass_on(source, target, answers)


class CuttingRelay(Relay):
    """A relay that closes a connection after the next ``passed`` bytes of replies, once."""

    passed: int | None = None

    def _pass_on(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        if answers and self.passed is not None:
            left, self.passed = self.passed, None
            while left and (data := source.recv(min(left, 2**16))):
                target.sendall(data)
                left -= len(data)
            for each in (source, target):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            return
        super()._pass_on(source, target, answers)
