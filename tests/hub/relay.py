"""Stands between the service and the Hub, and makes the Hub slow, deaf or ill."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

ILL = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\nConnection: close\r\n\r\nill\n"


class Relay:
    """Passes all on to a port of this machine, until it is told otherwise."""

    def __init__(self) -> None:
        self.target = 0
        """The port that all is passed on to."""
        self.delay = 0.0
        """How many seconds later each answer begins."""
        self.ill = False
        """Whether it answers itself, as the proxy of a Hub in trouble does."""
        self._open: set[socket.socket] = set()
        self._listening = socket.socket()
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.bind(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._listen()

    def refuse(self) -> None:
        """Take no connections any more, and drop those that are open."""
        # A thread that waits for connections keeps the port until it is woken.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()
        self.drop()

    def drop(self) -> None:
        """Close every connection; new ones may come."""
        for each in list(self._open):
            _shut(each)

    def accept(self) -> None:
        """Take connections again, on the same port."""
        self._listening = socket.socket()
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.bind(("127.0.0.1", self.port))
        self._listen()

    def _listen(self) -> None:
        self._listening.listen(100)
        self._thread = threading.Thread(target=self._take, args=(self._listening,))
        self._thread.start()

    def _take(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            if self.ill:
                with contextlib.suppress(OSError):
                    client.recv(2**16)
                    client.sendall(ILL)
                return
            try:
                hub = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            with hub:
                self._open |= {client, hub}
                back = threading.Thread(target=self._pass_on, args=(hub, client, True))
                back.start()
                self._pass_on(client, hub, False)
                back.join()
                self._open -= {client, hub}

    def _pass_on(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                if answers:
                    time.sleep(self.delay)
                target.sendall(data)
        _shut(source)
        _shut(target)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
