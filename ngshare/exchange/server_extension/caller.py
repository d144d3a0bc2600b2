"""The user of this server, as ngshare knows them."""

from __future__ import annotations

import logging
import threading
import time

from ngshare.exchange.address import find_address
from ngshare.exchange.client import ExchangeClient
from ngshare.exchange.connection import Connection, ServiceError
from ngshare.protocol.overview import Overview

MAX_AGE = 2.0
"""Seconds for which an answer of the service counts as new."""


class Caller:
    """The service's last answer about the user, and a client of the service.

    url: the address that the configuration names, if any.
    """

    def __init__(self, url: str | None, log: logging.Logger) -> None:
        self.log = log
        self.overview: Overview | None = None
        self._url = url
        self._client: ExchangeClient | None = None
        self._asked_at = -MAX_AGE
        self._thread: threading.Thread | None = None

    @property
    def client(self) -> ExchangeClient:
        """The client of the service. Raises ServiceError when its address is not known."""
        if self._client is None:
            # A user waits in front of a page: no retries.
            connection = Connection(find_address(self._url), self.log, retry_seconds=0)
            self._client = ExchangeClient(connection)
        return self._client

    def ask(self) -> Overview:
        """Ask the service for the user's courses. Raises ServiceError. It blocks."""
        self._asked_at = time.monotonic()
        self.overview = self.client.overview()
        return self.overview

    def ask_in_background(self, wait: float = 0) -> None:
        """Ask the service in a thread, unless its last answer is new.

        wait: seconds to wait for the answer.
        """
        if time.monotonic() - self._asked_at >= MAX_AGE:
            self._asked_at = time.monotonic()
            self._thread = threading.Thread(target=self._try_to_ask, name="ngshare", daemon=True)
            self._thread.start()
        if self._thread:
            self._thread.join(wait)

    def _try_to_ask(self) -> None:
        try:
            self.ask()
        except ServiceError as error:
            self.log.warning("ngshare: %s", error.message)
        except Exception:
            self.log.exception("ngshare: the request for the user's courses failed")
