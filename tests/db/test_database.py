"""Engines, URLs and transactions with their retries, on SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError

from ngshare.db import migrate, transactions
from ngshare.db.engine import make_engine
from ngshare.db.models import Course, User
from ngshare.db.transactions import ATTEMPTS, Database
from ngshare.db.urls import parse_url, show_url
from ngshare.errors import Conflict, OutOfSpace, Unavailable
from tests.databases import Databases

PATIENCE = 30


@pytest.fixture
def sqlite_file(tmp_path: Path, migrated: Path) -> Path:
    path = tmp_path / "ngshare.db"
    path.write_bytes(migrated.read_bytes())
    return path


@pytest.fixture
def sqlite(sqlite_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A current SQLite database with one connection and no busy timeout."""
    monkeypatch.setattr("ngshare.db.sqlite.BUSY_SECONDS", 0)
    opened = Database(parse_url(f"sqlite:///{sqlite_file}"))
    yield opened
    opened.close()


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Database]:
    """An up-to-date PostgreSQL database with two connections."""
    url = parse_url(postgres_url)
    migrate.upgrade(url)
    opened = Database(url, connections=2)
    yield opened
    opened.close()


@pytest.fixture
def either(databases: Databases, request: pytest.FixtureRequest) -> Database:
    """An up-to-date database of each kind."""
    return request.getfixturevalue("sqlite" if databases.kind == "sqlite" else "postgres")


@pytest.fixture
def other(sqlite_file: Path) -> Iterator[sqlite3.Connection]:
    """Another program that has the SQLite database open, and never waits."""
    connection = sqlite3.connect(
        sqlite_file, timeout=0, isolation_level=None, check_same_thread=False
    )
    yield connection
    connection.close()


class Pauses:
    """Replaces the pauses between attempts: records them, and calls a function instead."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.now = 1000.0
        self.meanwhile: Callable[[int], object] = lambda count: None

    def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.meanwhile(len(self.seconds))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    """Pauses that take no time."""
    pauses = Pauses()
    fake = SimpleNamespace(sleep=pauses.sleep, monotonic=lambda: pauses.now)
    monkeypatch.setattr(transactions, "time", fake)
    return pauses


def add_user(connection: Connection, name: str) -> None:
    connection.execute(insert(User), [{"name": name}])


def names(connection: Connection) -> list[str]:
    return sorted(connection.scalars(select(User.name)))


# URLs


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sqlite:////srv/ngshare/ngshare.db", "sqlite:////srv/ngshare/ngshare.db"),
        ("sqlite:///here.db", "sqlite:///here.db"),
        ("sqlite+pysqlite:////x.db", "sqlite:////x.db"),
        ("postgresql://ada:pw@host:1/name", "postgresql+psycopg://ada:pw@host:1/name"),
        ("postgres://ada@host/name", "postgresql+psycopg://ada@host/name"),
        ("postgresql+psycopg2://host/name", "postgresql+psycopg://host/name"),
        ("postgresql://a%40b:p%40w@host/name", "postgresql+psycopg://a%40b:p%40w@host/name"),
        ("postgresql:///name?host=/run/pg", "postgresql+psycopg:///name?host=%2Frun%2Fpg"),
    ],
)
def test_urls(given: str, expected: str) -> None:
    assert parse_url(given).render_as_string(hide_password=False) == expected


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "is not a database URL"),
        ("/srv/ngshare.db", "is not a database URL"),
        ("hunter2", "is not a database URL"),
        ("nonsense://x", "is not a database URL|names nonsense"),
        ("postgresql://ada:hunter2@host:port/name", "is not a database URL"),
        ("postgresql://ada:x@hunter2@host/name", "more than one @"),
        ("postgresql://ada:x@host/hunter2@y", "more than one @"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///file:x?mode=memory&uri=true", "in memory"),
        ("sqlite:///file:/a/n.db?uri=true", "file: URL .* the path alone: sqlite:////a/n.db$"),
        ("sqlite:///file:///a/n.db?uri=true", "the path alone: sqlite:////a/n.db$"),
        ("sqlite:///file://localhost/a%20b/n.db?uri=true", "alone: sqlite:////a b/n.db$"),
        ("sqlite:///file:n.db?mode=ro&uri=true", "the path alone: sqlite:///n.db$"),
        ("mysql://ada:hunter2@host/name", "names mysql; ngshare works with sqlite and postgresql"),
        ("oracle://ada:hunter2@host/name", "names oracle"),
    ],
)
def test_invalid_urls_are_rejected(given: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        parse_url(given)
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)


LITERAL = [
    ("sqlite:////srv/%41/100%.db", "/srv/%41/100%.db"),
    ("sqlite:////srv/a%2Fb%3F.db?x=%41", "/srv/a%2Fb%3F.db"),
    ("sqlite:///%20.db", "%20.db"),
    ("sqlite:////srv/Übung #1+1 @home:x.db", "/srv/Übung #1+1 @home:x.db"),
    ("postgresql:///n%41me?host=/run/pg", "n%41me"),
    ("postgresql://host:1/n%41me", "n%41me"),
    ("postgresql://[::1]:1/n%41me", "n%41me"),
    ("postgresql://ada:%40/?:pw@host/my courses%20?sslmode=require", "my courses%20"),
]


@pytest.mark.parametrize(("given", "name"), LITERAL)
def test_the_name_of_the_database_is_literal(given: str, name: str) -> None:
    """With every version of SQLAlchemy; 2.1 would decode it."""
    url = parse_url(given)
    assert url.database == name
    assert parse_url(show_url(url)).database == name
    assert f"/{name}" in show_url(url)


def test_a_url_without_a_database_is_kept() -> None:
    for given in ("postgresql://ada@host", "postgresql://ada@host?sslmode=require"):
        assert parse_url(given).database is None
        assert show_url(parse_url(given)) == "postgresql+psycopg://ada@host"


def test_the_url_names_the_sqlite_file(tmp_path: Path) -> None:
    migrate.upgrade(parse_url(f"sqlite:///{tmp_path}/%41 100%.db"))
    assert (tmp_path / "%41 100%.db").exists()


@pytest.mark.parametrize(
    "given",
    [
        "postgresql://ada:hunter2@host/name",
        "postgresql://ada@host/name?password=hunter2&sslmode=require",
        "postgresql://ada@host/name?sslpassword=hunter2",
    ],
)
def test_a_shown_url_has_no_password(given: str) -> None:
    shown = show_url(parse_url(given))
    assert "hunter2" not in shown
    assert "host/name" in shown
    unused = Database(parse_url(given))
    assert str(unused) == shown
    unused.close()


# SQLite


def test_sqlite_is_durable_and_enforces_foreign_keys(sqlite_file: Path) -> None:
    engine = make_engine(parse_url(f"sqlite:///{sqlite_file}"), connections=2)
    with engine.connect() as first, engine.connect() as second:
        for connection in (first, second):
            settings = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            }
            # FULL is 2: without it a commit in WAL mode may be lost with the power.
            assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    engine.dispose()


def test_a_writing_transaction_takes_the_lock_first(
    sqlite: Database, other: sqlite3.Connection
) -> None:
    def write(connection: Connection) -> None:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")

    sqlite.write(write)
    other.execute("BEGIN IMMEDIATE")


def test_reads_do_not_wait_for_a_writer(
    sqlite: Database, other: sqlite3.Connection, pauses: Pauses
) -> None:
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO users (name) VALUES ('ada')")
    assert sqlite.read(names) == []
    assert pauses.seconds == []


# Transactions


def test_a_write_is_visible_to_the_next_transaction(either: Database) -> None:
    either.write(add_user, "ada")
    assert either.read(names) == ["ada"]


def test_an_exception_rolls_back_and_is_not_retried(either: Database, pauses: Pauses) -> None:
    def refuse(connection: Connection) -> None:
        add_user(connection, "ada")
        raise Conflict("no")

    with pytest.raises(Conflict):
        either.write(refuse)
    assert either.read(names) == []
    assert pauses.seconds == []


def test_a_read_sees_one_snapshot(either: Database) -> None:
    engine = make_engine(either.url)

    def read(connection: Connection) -> tuple[list[str], list[str]]:
        before = names(connection)
        with engine.begin() as other:
            other.execute(insert(User), [{"name": "ada"}])
        return before, names(connection)

    assert either.read(read) == ([], [])
    assert either.read(names) == ["ada"]
    engine.dispose()


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO users (name) VALUES (NULL)",
        "INSERT INTO memberships (course_id, user_id, role) VALUES (1, 1, 'king')",
    ],
    ids=["not null", "check"],
)
def test_a_violated_constraint_is_not_retried(
    either: Database, pauses: Pauses, statement: str
) -> None:
    with pytest.raises(IntegrityError):
        either.write(lambda connection: connection.execute(text(statement)) and None)
    assert pauses.seconds == []


VIOLATE_FOREIGN_KEY = text("INSERT INTO trees (course_id, size) VALUES (123, 0)")


def test_a_violated_foreign_key_is_not_retried_on_sqlite(sqlite: Database, pauses: Pauses) -> None:
    """The transaction holds the write lock, so no other can have deleted the row meanwhile."""
    with pytest.raises(IntegrityError):
        sqlite.write(lambda connection: connection.execute(VIOLATE_FOREIGN_KEY) and None)
    assert pauses.seconds == []


def test_a_violated_foreign_key_is_retried_on_postgresql(
    postgres: Database, pauses: Pauses
) -> None:
    """A purge may have deleted the row after it was checked; the retry finds that out."""
    with pytest.raises(Unavailable):
        postgres.write(lambda connection: connection.execute(VIOLATE_FOREIGN_KEY) and None)
    assert len(pauses.seconds) == ATTEMPTS - 1


# Lost races


def test_an_error_does_not_contain_the_parameters(either: Database) -> None:
    engine = make_engine(either.url)
    with pytest.raises(DBAPIError) as failure, engine.connect() as connection:
        connection.execute(text("SELECT 1 FROM no_table WHERE x = :x"), {"x": "hunter2"})
    engine.dispose()
    assert "no_table" in str(failure.value)
    assert "hunter2" not in str(failure.value)


def test_a_locked_database_is_retried(
    sqlite: Database, other: sqlite3.Connection, pauses: Pauses
) -> None:
    other.execute("BEGIN IMMEDIATE")
    pauses.meanwhile = lambda count: count == 3 and other.execute("ROLLBACK")
    retries = []
    sqlite.retried = lambda: retries.append(len(pauses.seconds))
    sqlite.write(add_user, "ada")
    assert len(pauses.seconds) == 3
    assert retries == [0, 1, 2]
    assert sqlite.read(names) == ["ada"]


def test_retries_end_when_the_database_stays_locked(
    sqlite: Database,
    other: sqlite3.Connection,
    pauses: Pauses,
    caplog: pytest.LogCaptureFixture,
) -> None:
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="The exchange is busy; please try again") as error:
        sqlite.write(add_user, "ada")
    assert error.value.status == 503
    assert error.value.retry_after
    assert len(pauses.seconds) == ATTEMPTS - 1
    assert "Gave up a transaction after 0 s: database is locked" in caplog.text
    other.execute("ROLLBACK")
    with pytest.raises(Unavailable):  # those behind it do not wait in turn
        sqlite.write(add_user, "grace")
    assert sqlite.read(names) == []
    pauses.now += 2
    sqlite.write(add_user, "ada")
    assert sqlite.read(names) == ["ada"]


def test_a_unique_violation_retries_the_whole_transaction(either: Database, pauses: Pauses) -> None:
    either.write(add_user, "ada")
    attempts = []

    def write(connection: Connection) -> str:
        attempts.append(names(connection))
        add_user(connection, "grace")
        if len(attempts) < 3:
            add_user(connection, "ada")
        return "done"

    assert either.write(write) == "done"
    assert attempts == [["ada"]] * 3  # what an attempt did is undone before the next
    assert either.read(names) == ["ada", "grace"]


def test_retries_end_when_the_unique_violation_stays(either: Database, pauses: Pauses) -> None:
    either.write(add_user, "ada")
    with pytest.raises(Unavailable):
        either.write(add_user, "ada")
    assert len(pauses.seconds) == ATTEMPTS - 1


def test_a_key_inserted_concurrently_is_found_by_the_retry(
    postgres: Database, pauses: Pauses
) -> None:
    """The action selects, then inserts; the retry selects the row of the other transaction."""
    engine = make_engine(postgres.url)
    looks = []

    def find_or_add(connection: Connection) -> str:
        looks.append(connection.scalar(select(User.id)))
        if looks[-1] is not None:
            return "found"
        with engine.begin() as other:
            other.execute(insert(User), [{"name": "ada"}])
        add_user(connection, "ada")
        return "added"

    assert postgres.write(find_or_add) == "found"
    assert len(looks) == 2
    assert postgres.read(names) == ["ada"]
    engine.dispose()


def test_a_deadlock_is_retried(postgres: Database) -> None:
    """The database aborts one of two transactions, which is then retried."""
    postgres.write(lambda connection: [add_user(connection, name) for name in ("a", "b")] and None)
    both_have_one = threading.Barrier(2)
    update = text("UPDATE users SET name = name || :mark WHERE name LIKE :first")
    attempts = []

    def write(connection: Connection, mark: str, order: str) -> None:
        attempts.append(mark)
        first = mark not in attempts[:-1]
        for letter in order:
            connection.execute(update, {"mark": mark, "first": f"{letter}%"})
            if first and letter == order[0]:
                both_have_one.wait(PATIENCE)

    threads = [
        threading.Thread(target=postgres.write, args=(write, *arguments))
        for arguments in (("1", "ab"), ("2", "ba"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(map(len, (set(attempts), attempts))) == [2, 3]
    assert all(sorted(name[1:]) == ["1", "2"] for name in postgres.read(names))


def test_a_serialization_failure_is_retried(postgres: Database, pauses: Pauses) -> None:
    postgres.write(add_user, "ada")
    engine = make_engine(postgres.url)
    attempts = []

    def write(connection: Connection) -> None:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
        attempts.append(names(connection))
        if len(attempts) == 1:
            with engine.begin() as other:
                other.execute(text("UPDATE users SET name = 'grace'"))
        connection.execute(text("UPDATE users SET name = name || '!'"))

    postgres.write(write)
    assert attempts == [["ada"], ["grace"]]
    assert postgres.read(names) == ["grace!"]
    engine.dispose()


def test_a_lock_timeout_is_retried(postgres: Database, pauses: Pauses) -> None:
    postgres.write(add_user, "ada")
    engine = make_engine(postgres.url)
    holder = engine.connect()
    holder.execute(text("SELECT * FROM users FOR UPDATE"))
    pauses.meanwhile = lambda count: holder.rollback()
    lock = text("SELECT name FROM users FOR UPDATE NOWAIT")
    assert postgres.write(lambda connection: connection.scalar(lock)) == "ada"
    assert len(pauses.seconds) == 1
    holder.close()
    engine.dispose()


# Errors that are not retried


def test_an_invalid_statement_is_not_retried(postgres: Database, pauses: Pauses) -> None:
    with pytest.raises(ProgrammingError):
        postgres.read(lambda connection: connection.scalar(text("SELECT nonsense")))
    assert pauses.seconds == []


def test_a_database_that_does_not_answer(pauses: Pauses, caplog: pytest.LogCaptureFixture) -> None:
    absent = Database(parse_url("postgresql://ada:hunter2@127.0.0.1:1/name"))
    with pytest.raises(Unavailable, match="does not answer; please try again"):
        absent.read(names)
    assert pauses.seconds == []
    assert "The database does not answer: connection to server at" in caplog.text
    assert "hunter2" not in caplog.text
    absent.close()


def test_broken_connections_are_replaced(postgres: Database) -> None:
    postgres.write(add_user, "ada")
    engine = make_engine(postgres.url)
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid != pg_backend_pid()"
            )
        )
    engine.dispose()
    assert postgres.read(names) == ["ada"]
    postgres.write(add_user, "grace")


def test_a_full_disk_is_not_a_lost_race(
    sqlite: Database, pauses: Pauses, caplog: pytest.LogCaptureFixture
) -> None:
    def limit(pages: int) -> Callable[[Connection], None]:
        # The one connection keeps this for as long as it is open.
        return lambda connection: (
            connection.execute(text(f"PRAGMA max_page_count = {pages}")) and None
        )

    big: dict[str, Any] = {"name": "x" * 2**20}
    sqlite.read(limit(1))
    with pytest.raises(OutOfSpace, match="nothing of this request was stored") as error:
        sqlite.write(lambda connection: connection.execute(insert(User), [big]) and None)
    assert error.value.status == 507
    assert pauses.seconds == []
    assert "No room for the database" in caplog.text
    assert sqlite.read(names) == []
    sqlite.read(limit(2**20))
    sqlite.write(add_user, "ada")
    assert sqlite.read(names) == ["ada"]


def test_several_threads_share_the_connections(sqlite_file: Path) -> None:
    shared = Database(parse_url(f"sqlite:///{sqlite_file}"), connections=4)

    def count_up(connection: Connection) -> None:
        count = connection.scalar(select(func.count(Course.id)))
        connection.execute(
            insert(Course).values(name=f"{count}", created_at=datetime.now(timezone.utc))
        )

    threads = [
        threading.Thread(target=lambda: [shared.write(count_up) for _ in range(10)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    counted = shared.read(
        lambda connection: sorted(map(int, connection.scalars(select(Course.name))))
    )
    assert counted == list(range(40))
    shared.close()


def test_a_symbolic_link_is_resolved(tmp_path: Path) -> None:
    """Files beside the database, such as backups, are found by either name."""
    (tmp_path / "link.db").symlink_to("real.db")
    assert parse_url(f"sqlite:///{tmp_path}/link.db").database == str(tmp_path / "real.db")
