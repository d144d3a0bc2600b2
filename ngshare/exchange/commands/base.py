"""What ``ngshare course`` and ``ngshare doctor`` share: connection, errors, exit codes, output."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Callable
from functools import cached_property

from ngshare.exchange.address import Address, find_address
from ngshare.exchange.client import ExchangeClient
from ngshare.exchange.commands.csv_table import TableError
from ngshare.exchange.commands.nbgrader_config import NbgraderConfig, read_nbgrader_config
from ngshare.exchange.connection import Connection, ServiceError

EXIT_OK = 0
EXIT_FAILED = 1

RETRY_SECONDS = 10.0
"""For how long a command repeats a request, in seconds: a user waits for it."""


class CommandError(Exception):
    """A command cannot do its work. The message is one sentence that says what to do."""


class Session:
    """A command's connection to the service, and nbgrader's configuration in this folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """Add the options that all commands with a session have."""
        parser.add_argument(
            "--url",
            help="the address of ngshare; by default that of nbgrader_config.py, else "
            "$NGSHARE_URL, else that of the Hub's service",
        )
        parser.add_argument("--debug", action="store_true", help="log what is sent and received")

    @cached_property
    def address(self) -> Address:
        """Return the address of the service. Raises ServiceError when it is not known."""
        return find_address(self._options.url or self.settings.get("Exchange", "url") or None)

    @cached_property
    def client(self) -> ExchangeClient:
        """Return a client of the service. Raises ServiceError when its address is not known."""
        if self._options.debug:
            logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
        log = logging.getLogger("ngshare.exchange")
        return ExchangeClient(Connection(self.address, log, retry_seconds=RETRY_SECONDS))

    @cached_property
    def settings(self) -> NbgraderConfig:
        """Return nbgrader's configuration."""
        return read_nbgrader_config()

    @property
    def gradebook(self) -> NbgraderConfig | None:
        """Return the configuration that names the gradebook; None if it is to be left alone."""
        return None if self._options.no_gb else self.settings


def run(command: Callable[[], int]) -> int:
    """Run a command and return its exit code; print an error as one line on standard error."""
    _write_any_text()
    try:
        return command()
    except TableError as error:
        return fail(*error.faults)
    except (CommandError, ServiceError) as error:
        return fail(str(error))
    except BrokenPipeError:  # the reader has ended: `ngshare course list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except KeyboardInterrupt:
        return fail("interrupted")


def fail(*messages: str) -> int:
    """Print sentences on standard error, and return the exit code of a failure."""
    for message in messages:
        print(f"ngshare: {message}", file=sys.stderr, flush=True)
    return EXIT_FAILED


def note(message: str) -> None:
    """Print a sentence that is not part of the result on standard error."""
    print(message, file=sys.stderr, flush=True)


def _write_any_text() -> None:
    """Let names that the terminal's encoding lacks be printed, escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
