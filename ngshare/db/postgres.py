"""PostgreSQL: configure connections, classify errors, and check the server's configuration.

The driver, psycopg, is an extra, so this module does not import it.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from sqlalchemy import URL, Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

CONNECT_SECONDS = 5
"""Timeout of a connection attempt, for each host in the URL."""

LOCK_SECONDS = 5
"""Lock timeout of a statement in the service; its transaction is retried then."""

STATEMENT_SECONDS = 60
"""Timeout of a statement in the service. The slowest known take a few hundredths of a second."""

IDLE_SECONDS = 60
"""Timeout of a transaction that executes no statement, as of a process that hangs."""

RECYCLE_SECONDS = 1800
"""The longest time that a connection is reused: firewalls and poolers drop old ones silently."""

LOST_RACE_STATES = frozenset({"40001", "40P01", "55P03", "23503"})
"""SQLSTATEs after which a retry may succeed, or fail with a better error.

They are a serialization failure, a deadlock, a lock timeout, and a violated foreign key: a purge
deleted a row between a check and an insert, and the retried check finds that it is gone."""

UNIQUE_VIOLATION = "23505"
DISK_FULL = "53100"
_READ_ONLY_TRANSACTION = "25006"
_FEATURE_NOT_SUPPORTED = "0A000"
_UNSTORABLE_STATES = frozenset({"22003", "22021", "22P05"})
"""A number out of range; a character that the encoding lacks; one that a type cannot hold."""

_CONNECT_ARGS: dict[str, Any] = {
    "fallback_application_name": "ngshare",
    "client_encoding": "utf8",
    "connect_timeout": CONNECT_SECONDS,
    # Detects a server that vanished silently within a minute, instead of hours.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_TIMEOUTS = {
    "lock_timeout": f"{LOCK_SECONDS}s",
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
}

# Keeps a value that the administrator set for the user, for the database or in the URL.
_SET_TIMEOUT = (
    "SELECT set_config(name, %s, false) FROM pg_settings WHERE name = %s "
    "AND source NOT IN ('client', 'user', 'database', 'database user')"
)
# An acknowledged change must survive a loss of power, even where the server's default is faster.
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
"""Patterns of PostgreSQL's messages, each with advice."""


def connect_args(url: URL) -> dict[str, Any]:
    """Return connection parameters suited to a service, without those that the URL sets."""
    return {name: value for name, value in _CONNECT_ARGS.items() if name not in url.query}


def _shorten(record: logging.LogRecord) -> bool:
    """Remove the traceback from a line of the pool about a connection that broke. A log filter.

    Whether the transaction is retried, and what the user is told, is decided elsewhere.
    """
    error = record.exc_info[1] if record.exc_info else None
    if type(error).__module__.startswith("psycopg"):
        record.msg, record.args = f"A connection to the database broke: {error}", None
        record.exc_info = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


def configure_connections(engine: Engine, *, time_limits: bool) -> None:
    """Make the commits of the engine's connections durable; with ``time_limits``, set timeouts."""
    # SQLAlchemy logs a traceback when the rollback of a connection fails that the server has ended.
    logging.getLogger("sqlalchemy.pool.impl.QueuePool").addFilter(_shorten)

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, record: Any) -> None:
        connection.autocommit = True
        connection.execute(_SET_DURABLE)
        if time_limits:
            for name, value in _TIMEOUTS.items():
                connection.execute(_SET_TIMEOUT, (value, name))
        connection.autocommit = False


def sqlstate_of(error: DBAPIError) -> str | None:
    """Return an error's SQLSTATE; None when it does not come from a PostgreSQL server."""
    return getattr(error.orig, "sqlstate", None)


def is_stale_connection(error: DBAPIError, *, writes: bool) -> bool:
    """Return whether the connection is stale, so that a transaction may succeed on a new one.

    A connection is stale after a failover, when its server has become a standby, and after an
    upgrade has changed a table that one of its prepared statements uses.

    writes: the transaction writes.
    """
    state = sqlstate_of(error)
    if state == _FEATURE_NOT_SUPPORTED:
        return "cached plan" in str(error.orig)
    return writes and state == _READ_ONLY_TRANSACTION


def is_unstorable(error: DBAPIError) -> bool:
    """Return whether a text or number of the request cannot be stored, such as a NUL character."""
    # NUL characters are rejected by the driver.
    return sqlstate_of(error) in _UNSTORABLE_STATES or "cannot contain NUL" in str(error.orig)


def advice(url: URL, message: str) -> str | None:
    """Return what to do about an error with this message; None when it is not a known one."""
    for pattern, hint in _HINTS:
        if re.search(pattern, message):
            database = url.database or url.username
            return hint.format(
                user=_quote(url.username) if url.username else "<user>",
                database=_quote(database) if database else "<name>",
            )
    return None


def _quote(name: str) -> str:
    """Return a name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def encoding_fault(connection: Connection) -> str | None:
    """Return why the database's encoding is unusable, and what to do; None when it is usable."""
    encoding = _setting(connection, "server_encoding")
    if encoding != "UTF8":
        return (
            f"its encoding is {encoding}, which cannot hold every name: create a database with "
            "ENCODING 'UTF8' TEMPLATE template0"
        )
    return None


def durability_warnings(connection: Connection) -> list[str]:
    """Return a line for each setting of the server that risks data."""
    return [
        f"PostgreSQL runs with {name}=off: a loss of power can destroy what was handed in. "
        f"Set {name}=on in its configuration."
        for name in ("fsync", "full_page_writes")
        if _setting(connection, name) == "off"
    ]


def _setting(connection: Connection, name: str) -> str:
    return str(connection.scalar(text("SELECT current_setting(:name)"), {"name": name}))
