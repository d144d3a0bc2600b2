"""What is particular to PostgreSQL: how a connection is made, and what its errors mean.

Nothing of the driver is imported here: it is an extra.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import URL, Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

CONNECT_SECONDS = 5
"""How long making a connection may take, for each host that the URL names."""

LOCK_SECONDS = 5
"""How long one statement of the service waits for a lock before its transaction is run again."""

STATEMENT_SECONDS = 60
"""How long one statement of the service may run. The slowest known take a few hundredths."""

IDLE_SECONDS = 60
"""After so long without a statement, PostgreSQL undoes a transaction that a process left open."""

RECYCLE_SECONDS = 1800
"""A connection is not kept longer: firewalls and poolers drop old ones without a word."""

LOST_RACE = frozenset({"40001", "40P01", "55P03"})
"""Serialisation failure, deadlock, lock not available: the same may succeed when run again."""

UNIQUE = "23505"
NO_ROOM = "53100"
TOO_SLOW = "57014"
_READ_ONLY = "25006"
_NOT_SUPPORTED = "0A000"
UNFIT = frozenset({"22003", "22021", "22P05"})
"""A number or a character that it cannot keep."""

_CONNECT_ARGS: dict[str, Any] = {
    "fallback_application_name": "ngshare",
    "client_encoding": "utf8",
    "connect_timeout": CONNECT_SECONDS,
    # A server that vanished without a word is noticed after a minute at most, and not after hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_LIMITS = {
    "lock_timeout": f"{LOCK_SECONDS}s",
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
}

# What an administrator set for this user, this database or in the URL is left as it is.
_SET_LIMIT = (
    "SELECT set_config(name, %s, false) FROM pg_settings WHERE name = %s "
    "AND source NOT IN ('client', 'user', 'database', 'database user')"
)
# What is acknowledged must outlive the server's loss of power, whatever suits its other databases.
_SET_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') = 'off'"
)

_NO_SERVER = "start PostgreSQL, or correct the host and port in the URL"
_HINTS = (
    ("password authentication failed|no password supplied", "correct the user and password"),
    ("pg_hba.conf", "allow this user from this host in the server's pg_hba.conf"),
    ('role ".*" does not exist', "create it: CREATE ROLE {user} LOGIN PASSWORD '...'"),
    (
        'database ".*" does not exist',
        "create it: CREATE DATABASE {database} OWNER {user} ENCODING 'UTF8' TEMPLATE template0",
    ),
    (
        "permission denied",
        "make its user the owner: ALTER DATABASE {database} OWNER TO {user}",
    ),
    ("invalid connection option|invalid .* value", "correct the parameters after ? in the URL"),
    ("SSL|certificate", "correct sslmode and the other parameters after ? in the URL"),
    ("too many|connection slots", "raise the server's max_connections, or give ngshare fewer"),
    ("resolve host|translate host|Connection refused|No such file|time", _NO_SERVER),
)
"""Parts of PostgreSQL's messages, and what to do about each."""


def connect_args(url: URL) -> dict[str, Any]:
    """Parameters of a connection that suit a service. Those that the URL gives are left to it."""
    return {name: value for name, value in _CONNECT_ARGS.items() if name not in url.query}


def set_up_connections(engine: Engine, *, time_limits: bool) -> None:
    """Make every connection's commits durable, and perhaps limit how long it holds anybody up."""

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, record: Any) -> None:
        connection.autocommit = True
        connection.execute(_SET_DURABLE)
        if time_limits:
            for name, wanted in _LIMITS.items():
                connection.execute(_SET_LIMIT, (wanted, name))
        connection.autocommit = False


def state_of(error: DBAPIError) -> str | None:
    """The SQLSTATE of an error; None when it did not come from a PostgreSQL server."""
    return getattr(error.orig, "sqlstate", None)


def outlived(error: DBAPIError, *, writes: bool) -> bool:
    """Whether the connection is older than what it is connected to; a new one will do.

    The server became a standby, and another took its place. Or an upgrade changed a table
    under a statement that is prepared already.
    """
    state = state_of(error)
    if state == _NOT_SUPPORTED:
        return "cached plan" in str(error.orig)
    return writes and state == _READ_ONLY


def cannot_keep(error: DBAPIError) -> bool:
    """Whether the request holds a text or a number that PostgreSQL refuses, a NUL for example."""
    # The driver itself finds a NUL.
    return state_of(error) in UNFIT or "cannot contain NUL" in str(error.orig)


def advice(url: URL, reason: str) -> str | None:
    """Return what to do about a connection that cannot be made, or not be used; None if unknown."""
    for pattern, hint in _HINTS:
        if re.search(pattern, reason):
            database = url.database or url.username
            return hint.format(
                user=_quote(url.username) if url.username else "<user>",
                database=_quote(database) if database else "<name>",
            )
    return None


def _quote(name: str) -> str:
    """Return the name as SQL takes it, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def unfit(connection: Connection) -> str | None:
    """Why ngshare must not use this database, in one line; None when it may."""
    encoding = _setting(connection, "server_encoding")
    if encoding != "UTF8":
        return (
            f"its encoding is {encoding}, which cannot hold every name: create a database with "
            "ENCODING 'UTF8' TEMPLATE template0"
        )
    return None


def warnings(connection: Connection) -> list[str]:
    """What an administrator should change about the server, each in one line."""
    return [
        f"PostgreSQL runs with {name}=off: a loss of power can destroy what was handed in. "
        f"Set {name}=on in its configuration."
        for name in ("fsync", "full_page_writes")
        if _setting(connection, name) == "off"
    ]


def _setting(connection: Connection, name: str) -> str:
    return str(connection.scalar(text("SELECT current_setting(:name)"), {"name": name}))
