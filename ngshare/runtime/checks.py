"""Check settings, database, storage and port before the service starts; raise StartError."""

from __future__ import annotations

import errno
import getpass
import logging
import os
import re
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import URL
from tornado.netutil import bind_sockets

from ngshare.blobs import LocalBlobs
from ngshare.db.engine import check_server
from ngshare.db.urls import parse_url
from ngshare.errors import StartError
from ngshare.files import make_folder
from ngshare.protocol import names
from ngshare.web.proxy import is_network

log = logging.getLogger("ngshare")


def check_prefix(prefix: str) -> None:
    """Raise StartError unless this can be the prefix of every path."""
    if not prefix.startswith("/") or not prefix.endswith("/"):
        raise StartError(
            f"the prefix {prefix!r} must begin and end with a slash, as in /services/ngshare/"
        )
    if prefix.startswith("/healthz/"):
        raise StartError("the prefix must not begin with /healthz/, where health is asked for")


def check_admins(admins: Iterable[str]) -> None:
    """Raise StartError when a user cannot have one of these names."""
    for name in admins:
        if not names.is_legal_name(name):
            raise StartError(
                f"--admins names {name!r}, which no user can have: a name has 1 to "
                f"{names.MAX_NAME_LENGTH} characters, no slash and no control character; "
                "write commas between names"
            )


def check_trusted_proxies(proxies: Iterable[str]) -> None:
    """Raise StartError when one of these is neither an IP address nor a network."""
    for proxy in proxies:
        if not is_network(proxy):
            raise StartError(
                f"Ngshare.trusted_proxies names {proxy!r}, which is neither an address nor a "
                "network; write them as 10.0.0.7 or 10.0.0.0/8"
            )


def open_storage(folder: str) -> LocalBlobs:
    """Open the storage in a folder, which is created if missing. Raises StartError."""
    try:
        return LocalBlobs(folder)
    except FileExistsError as error:
        raise StartError(f"--storage {folder} is no folder: name another one") from error
    except OSError as error:
        raise StartError(
            f"--storage {folder} cannot be written ({error.strerror}): create it, "
            f"give it to the user {_current_user()}, or name another folder"
        ) from error


def check_writable(database: str) -> None:
    """Raise StartError unless a SQLite database and its folder are writable.

    The folder is created if missing. SQLite opens a read-only database without an error, and
    every change would fail later.
    """
    folder = Path(database).parent
    try:
        make_folder(folder)
    except OSError as error:
        raise StartError(
            f"the folder {folder} of the database cannot be made ({error.strerror}): "
            f"create it and give it to the user {_current_user()}, or name another database"
        ) from error
    for path in (folder, Path(database)):
        if path.exists() and not os.access(path, os.W_OK):
            raise StartError(
                f"the database {database} cannot be written: give its folder, and all that is in "
                f"there, to the user {_current_user()}, or name another database"
            )


def parse_database_url(text: str, source: str) -> URL:
    """Parse the URL of the database; make the path of a SQLite file absolute. Raises StartError.

    source: the option or variable that has the URL, for messages.
    """
    try:
        url = parse_url(text)
    except ValueError as error:
        # The message does not repeat the URL: an invalid one may contain a password too.
        raise StartError(f"{source} {error}") from error
    file = url.database or ""
    if url.get_backend_name() != "sqlite" or file.startswith("/"):
        return url
    log.warning(
        "The database %s is relative to the folder where ngshare starts: it is %s. "
        "For /%s write four slashes: sqlite:////%s",
        text,
        Path(file).absolute(),
        file,
        file,
    )
    return url.set(database=str(Path(file).absolute()))


def check_database(url: URL) -> list[str]:
    """Raise StartError unless the database can be used; return warnings about its server."""
    if url.get_backend_name() == "sqlite":
        check_writable(url.database or "")
    return check_server(url)


def bind(
    host: str, port: int, *, settings: tuple[str, str], patience: float
) -> list[socket.socket]:
    """Return sockets that listen on a host and port. Raises StartError.

    settings: the options for the host and for the port, for messages.
    patience: how many seconds to wait for a port that another process uses.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            return bind_sockets(port, host)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                raise StartError(
                    f"cannot listen on {host or '*'}:{port} ({error.strerror}): "
                    + _bind_advice(error, host, *settings)
                ) from error
        time.sleep(0.1)


def _bind_advice(error: OSError, host: str, host_setting: str, port_setting: str) -> str:
    """Return what to do about a failure to listen."""
    if error.errno == errno.EADDRINUSE:
        return f"is another ngshare running? Stop it, or choose another port with {port_setting}"
    if error.errno == errno.EACCES:
        return f"only root may listen there; choose a port from 1024 on with {port_setting}"
    if isinstance(error, socket.gaierror):
        return f"no address of {host!r} is known; name one of this machine with {host_setting}"
    return f"name an address of this machine with {host_setting}"


def redact_passwords(message: str) -> str:
    """Return a message without the user names and passwords of URLs in it."""
    return re.sub(r"://\S*@", "://***@", message)


def _current_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
