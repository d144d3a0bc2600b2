"""PostgreSQL: broken connections, outages, settings of connections, and errors."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import URL, Connection, insert, select, text

from ngshare.db import transactions
from ngshare.db.engine import check_server, make_engine
from ngshare.db.models import User
from ngshare.db.transactions import Database
from ngshare.db.urls import parse_url, show_url
from ngshare.errors import (
    BadRequest,
    MigrationError,
    OutcomeUnknown,
    OutOfSpace,
    StartError,
    Unavailable,
)
from tests.databases import Databases, only_postgresql
from tests.db.conftest import Clock
from tests.postgres import LOCKED, Cluster, running_cluster
from tests.postgres_proxy import Proxy, proxy

pytestmark = only_postgresql

LIMITS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")


@pytest.fixture
def url(database_url: str) -> URL:
    return parse_url(database_url)


@pytest.fixture
def opened(url: URL) -> Iterator[Callable[..., Database]]:
    """Opens the database, with other parameters if it is told to; and closes it at the end."""
    made = []

    def open_it(to: URL | None = None, **options: bool) -> Database:
        made.append(Database(to or url, **options))
        return made[-1]

    yield open_it
    for one in made:
        one.close()


def add_user(connection: Connection, name: str = "ada") -> None:
    connection.execute(insert(User), [{"name": name}])


def names(connection: Connection) -> list[str]:
    return sorted(connection.scalars(select(User.name)))


def setting(name: str) -> Callable[[Connection], str]:
    return lambda connection: connection.scalar(text(f"SHOW {name}"))


# Broken connections


class Breaking:
    """An action that adds a user, and whose connection breaks in the middle, so many times."""

    def __init__(self, cluster: Cluster, url: URL, times: int) -> None:
        self.cluster, self.url, self.times = cluster, url, times
        self.attempts = 0

    def __call__(self, connection: Connection) -> list[str]:
        before = names(connection)
        if not connection.get_execution_options().get("postgresql_readonly"):
            add_user(connection)
        self.attempts += 1
        if self.attempts <= self.times:
            self.cluster.end_connections(str(self.url.database))
        assert names(connection) is not None
        return before


@pytest.mark.parametrize("times", [1, 3])
def test_a_write_whose_connection_breaks_before_commit_is_stored_once(
    opened: Callable[..., Database], url: URL, postgres_cluster: Cluster, times: int
) -> None:
    breaking = Breaking(postgres_cluster, url, times)
    retries = []
    service = opened()
    service.retried = lambda: retries.append(1)
    assert service.write(breaking) == []
    assert breaking.attempts == len(retries) + 1 == times + 1
    assert service.read(names) == ["ada"]


def test_a_read_whose_connection_breaks_is_retried(
    opened: Callable[..., Database], url: URL, postgres_cluster: Cluster
) -> None:
    breaking = Breaking(postgres_cluster, url, 1)
    assert opened().read(breaking) == []
    assert breaking.attempts == 2


def test_retries_end_when_the_connection_always_breaks(
    opened: Callable[..., Database],
    url: URL,
    postgres_cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = SimpleNamespace(sleep=lambda seconds: None, monotonic=lambda: 0.0)
    monkeypatch.setattr(transactions, "time", fake)
    breaking = Breaking(postgres_cluster, url, 1000)
    service = opened()
    with pytest.raises(Unavailable, match="busy; please try again"):
        service.write(breaking)
    assert breaking.attempts == transactions.ATTEMPTS
    assert service.read(names) == []


@pytest.fixture
def between(postgres_cluster: Cluster, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy between the database and its server."""
    with proxy(tmp_path, postgres_cluster.folder) as running:
        yield running


@pytest.mark.parametrize(
    ("cut", "stored"), [("cut_before_commit", []), ("cut_after_commit", ["ada"])]
)
def test_a_commit_whose_answer_is_lost_is_not_retried(
    opened: Callable[..., Database],
    url: URL,
    between: Proxy,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    cut: str,
    stored: list[str],
) -> None:
    service = opened(url.update_query_dict({"host": str(tmp_path)}))
    assert service.read(names) == []
    setattr(between, cut, True)
    with pytest.raises(OutcomeUnknown, match="may be stored or not; please look") as error:
        service.write(add_user)
    setattr(between, cut, False)
    assert between.cuts == 1
    assert (error.value.status, error.value.retry_after) == (503, None)
    assert "went away while a change was committed" in caplog.text
    assert service.read(names) == stored
    service.write(add_user, "grace")
    assert service.read(names) == [*stored, "grace"]


def test_a_write_is_retried_after_a_failover(
    opened: Callable[..., Database], url: URL, postgres_cluster: Cluster
) -> None:
    """The connected server becomes a standby; a new connection reaches the new primary."""
    service = opened()
    service.write(add_user)
    setting = f"ALTER DATABASE {url.database} SET default_transaction_read_only = "
    postgres_cluster.execute(setting + "on")
    postgres_cluster.end_connections(str(url.database))
    tried = []

    def write(connection: Connection) -> None:
        tried.append(1)
        if len(tried) == 3:
            postgres_cluster.execute(setting + "off")
        add_user(connection, "grace")

    service.write(write)
    assert len(tried) == 4
    assert service.read(names) == ["ada", "grace"]


@pytest.mark.parametrize("method", ["read", "write"])
def test_a_prepared_statement_survives_a_change_of_its_table(
    opened: Callable[..., Database], url: URL, postgres_cluster: Cluster, method: str
) -> None:
    service = opened()
    service.write(add_user)
    run = getattr(service, method)
    for _ in range(10):  # the driver prepares a statement that comes again and again
        run(names)
    change = "ALTER TABLE users ALTER name TYPE text"
    postgres_cluster.execute(change, str(url.database))
    assert run(names) == ["ada"]


def test_a_rollback_on_a_broken_connection_logs_one_line(
    url: URL, postgres_cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make_engine(url)
    raw = engine.raw_connection()
    raw.cursor().execute("SELECT 1")
    postgres_cluster.end_connections(str(url.database))
    raw.close()
    engine.dispose()
    (record,) = [each for each in caplog.records if each.name.startswith("sqlalchemy.pool")]
    assert record.getMessage().startswith("A connection to the database broke: ")
    assert record.exc_info is None


def test_a_read_cannot_write(opened: Callable[..., Database]) -> None:
    service = opened()
    with pytest.raises(Exception, match="read-only transaction"):
        service.read(add_user)
    assert service.read(names) == []


# Outages


def test_no_connection_is_tried_just_after_one_failed(
    opened: Callable[..., Database], url: URL, tmp_path: Path, clock: Clock
) -> None:
    service = opened(url.update_query_dict({"host": str(tmp_path)}))
    with pytest.raises(Unavailable):
        service.read(names)
    with proxy(tmp_path, Path(str(url.query["host"]))):
        with pytest.raises(Unavailable):  # without trying
            service.read(names)
        clock.now += 1
        assert service.read(names) == []
        service.close()


# Settings


def test_the_service_has_timeouts(opened: Callable[..., Database]) -> None:
    service = opened(time_limits=True)
    assert [service.read(setting(name)) for name in LIMITS] == ["5s", "1min", "1min"]
    assert service.read(setting("application_name")) == "ngshare"


def test_commands_have_no_timeouts(opened: Callable[..., Database]) -> None:
    service = opened()
    assert [service.read(setting(name)) for name in LIMITS] == ["0", "0", "0"]


def test_timeouts_set_by_the_administrator_are_kept(
    opened: Callable[..., Database], url: URL, postgres_cluster: Cluster
) -> None:
    postgres_cluster.execute(f"ALTER DATABASE {url.database} SET statement_timeout = '7s'")
    own = {"options": "-c lock_timeout=9s", "application_name": "exchange"}
    service = opened(url.update_query_dict(own), time_limits=True)
    assert [service.read(setting(name)) for name in LIMITS] == ["9s", "7s", "1min"]
    assert service.read(setting("application_name")) == "exchange"


@pytest.mark.parametrize(("set_to", "used"), [("off", "on"), ("local", "local")])
def test_a_commit_is_durable_despite_the_servers_default(
    opened: Callable[..., Database], url: URL, postgres_cluster: Cluster, set_to: str, used: str
) -> None:
    postgres_cluster.execute(f"ALTER DATABASE {url.database} SET synchronous_commit = {set_to}")
    assert opened().read(setting("synchronous_commit")) == used


def test_a_statement_timeout(
    opened: Callable[..., Database], url: URL, caplog: pytest.LogCaptureFixture
) -> None:
    service = opened(url.update_query_dict({"options": "-c statement_timeout=10"}))
    with pytest.raises(Unavailable, match="does not answer; please try again"):
        service.read(lambda connection: connection.execute(text("SELECT pg_sleep(60)")) and None)
    assert "canceling statement due to statement timeout" in caplog.text


def test_retries_end_when_a_row_stays_locked(
    opened: Callable[..., Database], url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = SimpleNamespace(sleep=lambda seconds: None, monotonic=lambda: 0.0)
    monkeypatch.setattr(transactions, "time", fake)
    service = opened(url.update_query_dict({"options": "-c lock_timeout=10"}))
    service.write(add_user)
    update = text("UPDATE users SET name = name || '!'")
    retries = []
    service.retried = lambda: retries.append(1)
    engine = make_engine(url)
    with engine.begin() as holder:
        holder.execute(update)
        with pytest.raises(Unavailable, match="busy; please try again"):
            service.write(lambda connection: connection.execute(update) and None)
        assert len(retries) == transactions.ATTEMPTS - 1
    assert service.read(names) == ["ada!"]
    engine.dispose()


# Errors of the server


@pytest.mark.parametrize("statement", ["SELECT CAST(:value AS text)", "SELECT CAST(:value AS int)"])
def test_an_unstorable_value_is_a_bad_request(
    opened: Callable[..., Database], statement: str
) -> None:
    value = "a\0b" if "text" in statement else 2**40
    with pytest.raises(BadRequest, match="cannot be stored"):
        opened().write(
            lambda connection: connection.execute(text(statement), {"value": value}) and None
        )


def test_a_full_disk(opened: Callable[..., Database], caplog: pytest.LogCaptureFixture) -> None:
    full = text("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full'; END $$")
    with pytest.raises(OutOfSpace, match="nothing of this request was stored"):
        opened().write(lambda connection: connection.execute(full) and None)
    assert "No room for the database" in caplog.text


# Checks before the service starts


def test_a_suitable_server_causes_no_warning(databases: Databases) -> None:
    with running_cluster() as cluster:
        assert check_server(parse_url(cluster.url("postgres"))) == []


def test_a_server_without_fsync_causes_warnings(url: URL) -> None:
    [fsync, pages] = check_server(url)  # the tests' own
    assert fsync.startswith("PostgreSQL runs with fsync=off: a loss of power can destroy what was")
    assert "Set full_page_writes=on" in pages


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_an_unusable_encoding_is_refused(
    url: URL, postgres_cluster: Cluster, encoding: str
) -> None:
    name = f"encoding_{encoding}".lower()
    postgres_cluster.execute(
        f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C' "
        "TEMPLATE template0"
    )
    with pytest.raises(StartError, match=f"its encoding is {encoding}, .* ENCODING 'UTF8'"):
        check_server(parse_url(postgres_cluster.url(name)))
    postgres_cluster.drop(name)


@pytest.fixture
def locked(postgres_cluster: Cluster) -> Iterator[None]:
    """A user who needs a password."""
    postgres_cluster.execute(f"CREATE ROLE {LOCKED} LOGIN PASSWORD 'right'")
    yield
    postgres_cluster.execute(f"DROP ROLE {LOCKED}")


@pytest.mark.parametrize(
    ("change", "reason", "what_to_do"),
    [
        (
            {"username": LOCKED, "password": "hunter2"},
            'password authentication failed for user "locked"',
            "correct the user and password",
        ),
        ({"username": LOCKED}, "no password supplied", "correct the user and password"),
        (
            {"username": "nobody"},
            'role "nobody" does not exist',
            "create it: CREATE ROLE \"nobody\" LOGIN PASSWORD '...'",
        ),
        (
            {"database": "absent"},
            'database "absent" does not exist',
            "create it: "
            'CREATE DATABASE "absent" OWNER "postgres" ENCODING \'UTF8\' TEMPLATE template0',
        ),
        (
            {"query": {"host": "/nowhere"}},
            "No such file or directory",
            "start PostgreSQL, or correct the host and port in the URL",
        ),
        (
            {"host": "127.0.0.1", "port": 1, "query": {}},
            "Connection refused",
            "start PostgreSQL, or correct the host and port in the URL",
        ),
        (
            {"host": "nowhere.invalid", "query": {}},
            "nowhere.invalid",
            "start PostgreSQL, or correct the host and port in the URL",
        ),
        (
            {"query": {"nonsense": "hunter2"}},
            "invalid connection option",
            "correct the parameters after ? in the URL",
        ),
        (
            {"query": {"sslmode": "nonsense", "host": "/tmp"}},
            "invalid sslmode value",
            "correct the parameters after ? in the URL",
        ),
        (
            {"query": {"sslmode": "require", "host": "127.0.0.1", "port": "1"}},
            "Connection refused",
            "start PostgreSQL, or correct the host and port in the URL",
        ),
    ],
    ids=[
        *("password", "no password", "user", "database", "socket", "port", "host", "parameter"),
        *("sslmode", "query"),
    ],
)
@pytest.mark.usefixtures("locked")
def test_connection_errors_come_with_advice(
    url: URL, change: dict[str, object], reason: str, what_to_do: str
) -> None:
    wrong = url.set(**change)  # type: ignore[arg-type]  # each names what it replaces
    with pytest.raises(StartError) as error:
        check_server(wrong)
    line = str(error.value)
    assert line.startswith("The database postgresql+psycopg://")
    assert reason in line
    assert line.endswith(f"; {what_to_do}")
    assert "\n" not in line
    assert "hunter2" not in line


@pytest.mark.parametrize("name", ["My courses", 'a "b"', "JDoe", "user", "n%41me", "drop;--"])
def test_the_advice_quotes_names(url: URL, postgres_cluster: Cluster, name: str) -> None:
    shown = show_url(url.set(database=name))
    wanted = parse_url(shown)
    assert wanted.database == name
    with pytest.raises(StartError) as error:
        check_server(wanted)
    statement = str(error.value).rpartition("create it: ")[2]
    postgres_cluster.execute(statement)
    check_server(wanted)
    postgres_cluster.drop('"' + name.replace('"', '""') + '"')


def test_a_user_without_permission_to_create_tables(
    url: URL, postgres_cluster: Cluster, postgres_url: str, locked: None
) -> None:
    """As every user but the owner since PostgreSQL 15."""
    from ngshare.db.migrate import upgrade

    empty = parse_url(postgres_url)
    user = empty.set(username=LOCKED, password="right")
    with pytest.raises(MigrationError) as error:
        upgrade(user)
    line = str(error.value)
    assert "permission denied for schema public" in line
    assert line.endswith(f'ALTER DATABASE "{empty.database}" OWNER TO "{LOCKED}"')
    postgres_cluster.execute(f"ALTER DATABASE {empty.database} OWNER TO {LOCKED}")
    assert upgrade(user)[0] is None
    postgres_cluster.drop(str(empty.database))


@pytest.fixture(scope="module")
def encrypted(databases: Databases) -> Iterator[tuple[URL, Path]]:
    """A database that is reached by TLS, and the file of the certificate that it shows."""
    certificate, key = self_signed("127.0.0.1")
    cluster = Cluster()
    try:
        trusted = cluster.keep("server.crt", certificate)
        cluster.set(ssl="on", ssl_cert_file=str(trusted))
        cluster.set(ssl_key_file=str(cluster.keep("server.key", key)))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        cluster.set(listen_addresses="127.0.0.1", port=str(port))
        cluster.start()
        yield parse_url(f"postgresql://postgres@127.0.0.1:{port}/postgres"), trusted
    finally:
        cluster.close()


def self_signed(address: str) -> tuple[bytes, bytes]:
    """A certificate for this address, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, address)])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def test_a_tls_connection_verifies_the_server(
    encrypted: tuple[URL, Path], opened: Callable[..., Database]
) -> None:
    url, certificate = encrypted
    strict = {"sslmode": "verify-full", "sslrootcert": str(certificate)}
    service = opened(url.update_query_dict(strict))
    query = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert service.read(lambda connection: connection.scalar(query)) is True
    assert "verify-full" not in str(service)


def test_a_server_with_another_certificate_is_refused(
    encrypted: tuple[URL, Path], tmp_path: Path
) -> None:
    url, _ = encrypted
    other = tmp_path / "other.crt"
    other.write_bytes(self_signed("127.0.0.1")[0])
    strict = {"sslmode": "verify-full", "sslrootcert": str(other)}
    with pytest.raises(StartError, match="certificate verify failed") as error:
        check_server(url.update_query_dict(strict))
    advice = "; correct sslmode and the other parameters after ? in the URL"
    assert str(error.value).endswith(advice)


@pytest.mark.usefixtures("locked")
def test_the_right_password_is_accepted(url: URL) -> None:
    check_server(url.set(username=LOCKED, password="right"))
