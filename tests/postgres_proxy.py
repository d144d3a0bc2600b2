"""Stands between ngshare and PostgreSQL, and breaks the connection in the middle of a COMMIT."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

SOCKET = ".s.PGSQL.5432"
"""The name of PostgreSQL's socket in its folder."""


class Proxy:
    """Passes everything on, until it is told to cut."""

    def __init__(self, folder: Path, server: Path) -> None:
        self.cut_before_commit = False
        """Break off when a COMMIT comes, and keep it from the server."""
        self.cut_after_commit = False
        """Break off when the server has answered a COMMIT, and keep that from the client."""
        self.cuts = 0
        self._server = str(server / SOCKET)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / SOCKET))
        self._listening.listen()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._open:
            _shut(connection)
        for thread in list(self._threads):
            thread.join()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            self._open += [client, server]
            committing = threading.Event()
            for pass_on in (self._to_server, self._to_client):
                thread = threading.Thread(target=pass_on, args=(client, server, committing))
                self._threads.append(thread)
                thread.start()

    def _to_server(
        self, client: socket.socket, server: socket.socket, committing: threading.Event
    ) -> None:
        while data := _receive(client):
            if b"COMMIT\0" in data:
                if self.cut_before_commit:
                    self.cuts += 1
                    break
                committing.set()
            _send(server, data)
        _shut(client)
        _shut(server)

    def _to_client(
        self, client: socket.socket, server: socket.socket, committing: threading.Event
    ) -> None:
        while data := _receive(server):
            if committing.is_set() and self.cut_after_commit:
                self.cuts += 1
                break
            committing.clear()
            _send(client, data)
        _shut(client)
        _shut(server)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(2**16)
    except OSError:
        return b""


def _send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # the other side went away
        connection.sendall(data)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def proxy(folder: Path, server: Path) -> Iterator[Proxy]:
    """A proxy with its socket in one folder, before the server whose socket is in the other."""
    running = Proxy(folder, server)
    try:
        yield running
    finally:
        running.close()
