"""The base class of the plugin's classes, which nbgrader calls: settings, client, errors, folders.

nbgrader calls ``start()``, and takes :class:`nbgrader.exchange.ExchangeError` for a failure, after
which its commands exit with code 1.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any, NoReturn

from jupyter_core.paths import jupyter_data_dir
from nbgrader.apps import NbGrader
from nbgrader.exchange import abc
from traitlets import Bool, Unicode, default

from ngshare.exchange.address import Address, find_address
from ngshare.exchange.client import ExchangeClient
from ngshare.exchange.connection import Connection, ServiceError
from ngshare.exchange.plugin.course_choice import choose_course
from ngshare.exchange.plugin.submission_cache import SubmissionCache
from ngshare.protocol.trees import MAX_PATH_COMPONENT_BYTES

_WILDCARD = re.compile(r"[*?\[]")

COMMAND_RETRY_SECONDS = 120.0
"""For how long a command repeats requests that failed for a passing reason."""

SERVER_RETRY_SECONDS = 10.0
"""The same in a Jupyter server, which answers nothing else meanwhile."""

_clients: dict[Address, ExchangeClient] = {}


def shared_client(url: str, log: logging.Logger, retry_seconds: float) -> ExchangeClient:
    """Return this process's client of the service at ``url``; empty: the environment names it.

    A Jupyter server makes a new object of nbgrader's classes for every click, and their
    connections would not be reused. Raises ServiceError when no address is known.
    """
    address = find_address(url or None, os.environ)
    if address not in _clients:
        connection = Connection(address, log, retry_seconds=retry_seconds)
        _clients[address] = ExchangeClient(connection)
    return _clients[address]


class Exchange(abc.Exchange):  # type: ignore[misc]  # nbgrader is untyped
    """Settings and methods that all classes of the plugin share."""

    url = Unicode(
        "",
        help=dedent(
            """
            Address of ngshare as this computer reaches it, for example
            http://127.0.0.1:8000/services/ngshare. Default: $NGSHARE_URL, else the address
            that the environment of a user's server on a JupyterHub implies.
            """
        ),
    ).tag(config=True)

    cache = Unicode(
        help=dedent(
            """
            Folder with copies of what was submitted from this computer.
            Default: $JUPYTER_DATA_DIR/nbgrader_cache
            """
        ),
    ).tag(config=True)

    @default("cache")
    def _cache_default(self) -> str:
        return str(Path(jupyter_data_dir(), "nbgrader_cache"))

    path_includes_course = Bool(
        False,
        help=dedent(
            """
            Put assignments into a folder of their course: ./course123/ps1 instead of ./ps1.
            Set it when students take several courses that have assignments of the same name.
            """
        ),
    ).tag(config=True)

    @property
    def client(self) -> ExchangeClient:
        """The client of the service, shared by everything in this process."""
        in_command = runs_in_command(self)
        retry_seconds = COMMAND_RETRY_SECONDS if in_command else SERVER_RETRY_SECONDS
        return shared_client(self.url, self.log, retry_seconds)

    @property
    def submission_cache(self) -> SubmissionCache:
        """The copies of submissions on this computer."""
        return SubmissionCache(Path(self.cache))

    def start(self) -> Any:
        """Run the operation and return its result. Raises nbgrader's ExchangeError on failure.

        The user sees one sentence; the log at level DEBUG has the traceback.
        """
        try:
            return super().start()
        except ServiceError as error:
            self.log.debug("The request failed:", exc_info=True)
            self.fail(self.explain(error))
        except OSError as error:
            self.log.debug("A file could not be read or written:", exc_info=True)
            self.fail(describe_os_error(error))

    def explain(self, error: ServiceError) -> str:
        """Return the sentence about a failed request that the user sees."""
        return error.message

    def fail(self, msg: str) -> NoReturn:
        """Log ``msg`` as critical, and raise nbgrader's ExchangeError with it."""
        super().fail(msg)
        raise AssertionError("nbgrader's fail raises")

    def require_course(self, role: str) -> str:
        """Return the course to work on, and store it in ``coursedir.course_id``.

        role: "student" or "instructor". Without a course in the configuration it is the only one
        that the user has in this role.
        """
        course = choose_course(self.client, self.coursedir.course_id, role=role)
        self.coursedir.course_id = self.require_folder_name(course)
        return course

    def require_folder_name(self, name: str) -> str:
        """Return the name of a course or an assignment; fail if no folder can have this name."""
        if not is_folder_name(name):
            self.fail(f"'{name}' cannot be the name of a folder, so nbgrader cannot work with it.")
        return name

    def assignment_folder(self, course: str, assignment: str) -> Path:
        """Return the absolute path of the student's folder for an assignment."""
        parent = Path(self.assignment_dir, course if self.path_includes_course else "")
        return (parent / assignment).absolute()

    def require_folder_of_course(self, folder: Path, course: str) -> None:
        """Fail if the assignment in ``folder`` was fetched from another course."""
        origin = self.submission_cache.course_of(folder)
        if origin not in (None, course):
            self.fail(
                f"The folder '{folder}' has the assignment of the course '{origin}', not of "
                f"'{course}'. Set c.Exchange.path_includes_course = True in nbgrader_config.py to "
                f"give each course a folder, or move this one away. If it does belong to "
                f"'{course}', remove {self.submission_cache.origin_file(folder)} first."
            )

    def suggest(self, name: str, names: Iterable[str]) -> None:
        """Log which of ``names`` is the most similar to a name that does not exist."""
        for similar in difflib.get_close_matches(name, list(names), n=1, cutoff=0.4):
            self.log.error("Did you mean: %s", similar)

    def runs_in(self, app: type[NbGrader]) -> bool:
        """Return True if the command ``app`` runs this, instead of a Jupyter server."""
        return any(isinstance(parent, app) for parent in _ancestors(self))


def _ancestors(configurable: Any) -> Iterator[Any]:
    while configurable := configurable.parent:
        yield configurable


def runs_in_command(configurable: Any) -> bool:
    """Return True if a command of nbgrader uses a configurable object, not a Jupyter server.

    Formgrader in a Jupyter server is an application of nbgrader, too, but not the outermost.
    """
    outermost = None
    for parent in _ancestors(configurable):
        outermost = parent
    return isinstance(outermost, NbGrader)


def is_folder_name(name: str) -> bool:
    """Return True if ``name`` can be the name of a folder, and a component of a path."""
    return (
        name not in ("", ".", "..")
        and "/" not in name
        and len(os.fsencode(name)) <= MAX_PATH_COMPONENT_BYTES
    )


def has_wildcard(pattern: str) -> bool:
    """Return True if ``pattern`` may stand for several names. A name may have such characters."""
    return bool(_WILDCARD.search(pattern))


def describe_os_error(error: OSError) -> str:
    """Return a sentence about a failed access to a file, without the error's number."""
    path = error.filename2 or error.filename
    reason = error.strerror or str(error)
    return f"{path}: {reason}" if path else reason
