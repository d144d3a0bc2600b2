"""Check that the service can start. Each failure is one line that says what to do."""

from __future__ import annotations

import errno
import getpass
import json
import logging
import os
import re
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import URL
from tornado.netutil import bind_sockets

from ngshare.blobs import LocalBlobs
from ngshare.db.engine import check_server
from ngshare.db.urls import parse_url
from ngshare.errors import StartError
from ngshare.files import make_folder

log = logging.getLogger("ngshare")

HUB_VARIABLES = (
    "JUPYTERHUB_API_TOKEN",
    "JUPYTERHUB_API_URL",
    "JUPYTERHUB_CLIENT_ID",
    "JUPYTERHUB_SERVICE_NAME",
    "JUPYTERHUB_SERVICE_URL",
)


SCOPES_VARIABLES = ("JUPYTERHUB_OAUTH_ACCESS_SCOPES", "JUPYTERHUB_OAUTH_SCOPES")
"""Where the Hub says which scopes open the service; the second is the older name."""


def check_prefix(prefix: str) -> None:
    """Raise StartError unless every path can begin with this."""
    if not prefix.startswith("/") or not prefix.endswith("/"):
        raise StartError(
            f"the prefix {prefix!r} must begin and end with a slash, as in /services/ngshare/"
        )
    if prefix.startswith("/healthz/"):
        raise StartError("the prefix must not begin with /healthz/, where health is asked for")


def check_hub(api_url: str) -> None:
    """Raise StartError unless the Hub, at this URL of its API, said all that a service needs."""
    missing = [name for name in HUB_VARIABLES if not os.environ.get(name)]
    if api_url and "JUPYTERHUB_API_URL" in missing:
        missing.remove("JUPYTERHUB_API_URL")
    if missing:
        raise StartError(
            f"{' and '.join(missing)} not set: let JupyterHub launch ngshare "
            "(from ngshare.hub import configure_hub; configure_hub(c)), "
            "or run it alone with --vngshare"
        )
    if not _is_url(api_url):
        raise StartError(
            f"the Hub's API cannot be at {api_url!r}: JUPYTERHUB_API_URL or "
            "--jupyterhub_api_url must name a URL, as in http://127.0.0.1:8081/hub/api"
        )
    for name in SCOPES_VARIABLES:
        text = os.environ.get(name)
        if text and not _is_list_of_texts(text):
            raise StartError(
                f"{name} is {text[:100]!r}; it must be a JSON list of scopes, as in "
                f'["access:services!service={os.environ["JUPYTERHUB_SERVICE_NAME"]}"], or not set'
            )


def _is_url(text: str) -> bool:
    """Whether a Hub can be asked at this URL."""
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # the port is no number
        return False


def _is_list_of_texts(text: str) -> bool:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, list) and all(isinstance(each, str) for each in found)


def open_storage(folder: str) -> LocalBlobs:
    """The storage in a folder, made where it is missing. Raises StartError."""
    try:
        return LocalBlobs(folder)
    except FileExistsError as error:
        raise StartError(f"--storage {folder} is no folder: name another one") from error
    except OSError as error:
        raise StartError(
            f"--storage {folder} cannot be written ({error.strerror}): create it, "
            f"give it to the user {_user()}, or name another folder"
        ) from error


def check_writable(database: str) -> None:
    """Raise StartError unless the file of a SQLite database, and others beside it, can be written.

    SQLite would open one that cannot, and every change would fail later.
    """
    folder = Path(database).parent
    try:
        make_folder(folder)
    except OSError as error:
        raise StartError(
            f"the folder {folder} of the database cannot be made ({error.strerror}): "
            f"create it and give it to the user {_user()}, or name another database"
        ) from error
    for path in (folder, Path(database)):
        if path.exists() and not os.access(path, os.W_OK):
            raise StartError(
                f"the database {database} cannot be written: give its folder, and all that is in "
                f"there, to the user {_user()}, or name another database"
            )


def database_url(text: str, given: str) -> URL:
    """The URL of the database, which ``given`` names in messages. Raises StartError."""
    try:
        url = parse_url(text)
    except ValueError as error:
        # Its text is not repeated: a URL that is wrong may still hold a password.
        raise StartError(f"{given} {error}") from error
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


def hub_address() -> tuple[str, int]:
    """Where the Hub wants its service to listen. Raises StartError."""
    text = os.environ["JUPYTERHUB_SERVICE_URL"]
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        host, port, url = None, None, urlsplit("")
    if url.scheme != "http" or not host:
        raise StartError(
            f"JUPYTERHUB_SERVICE_URL is {text!r}; it must say where to listen, "
            "as in http://127.0.0.1:10101"
        )
    return host, 80 if port is None else port


def bind(
    host: str, port: int, *, settings: tuple[str, str], patience: float
) -> list[socket.socket]:
    """Listen. A port that another program has is waited for, so many seconds. Raises StartError.

    ``settings`` say what to change when that does not work: the host, and the port.
    """
    give_up = time.monotonic() + patience
    while True:
        try:
            return bind_sockets(port, host)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= give_up:
                raise StartError(
                    f"cannot listen on {host or '*'}:{port} ({error.strerror}): "
                    + _how_to_listen(error, host, *settings)
                ) from error
        time.sleep(0.1)


def _how_to_listen(error: OSError, host: str, for_host: str, for_port: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"is another ngshare running? Stop it, or choose another port with {for_port}"
    if error.errno == errno.EACCES:
        return f"only root may listen there; choose a port from 1024 on with {for_port}"
    if isinstance(error, socket.gaierror):
        return f"no address of {host!r} is known; name one of this machine with {for_host}"
    return f"name an address of this machine with {for_host}"


def redact_passwords(message: str) -> str:
    """What a message says of a URL may be what somebody mistyped, with its password."""
    return re.sub(r"://\S*@", "://***@", message)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
