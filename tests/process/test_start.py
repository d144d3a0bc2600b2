"""Start-up: what it says, what it accepts, and how it refuses."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect

import ngshare
from ngshare.app import main
from ngshare.db import migrate
from ngshare.db.engine import make_engine
from ngshare.db.urls import parse_url, show_url
from tests.databases import only_sqlite
from tests.process.site import COMMAND, Site, wait_for
from tests.require import require

HUB = {
    "JUPYTERHUB_API_TOKEN": "the-token-of-the-service",
    "JUPYTERHUB_API_URL": "http://127.0.0.1:9/hub/api",
    "JUPYTERHUB_CLIENT_ID": "service-ngshare",
    "JUPYTERHUB_SERVICE_NAME": "ngshare",
    "JUPYTERHUB_SERVICE_PREFIX": "/services/ngshare/",
    "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:0",
}


NEEDED = sorted(set(HUB) - {"JUPYTERHUB_SERVICE_PREFIX"})


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


# What it says


def test_says_what_an_administrator_wants_to_know(empty_site: Site) -> None:
    site = empty_site
    server = site.start(admins="ada,grace", command=COMMAND)
    version, head = re.escape(ngshare.__version__), migrate.head()
    assert re.search(
        rf"ngshare {version} listens on http://127\.0\.0\.1:{server.port}/api/\n", server.output
    )
    assert (
        f"Database: {show_url(parse_url(site.database))}, revision {head}, newly created\n"
        in server.output
    )
    assert f"Storage: {site.storage}\n" in server.output
    assert "Admins: ada, grace\n" in server.output
    assert "Mode: stand-alone\n" in server.output
    # The tests' own server is in a hurry.
    unsafe = "PostgreSQL runs with fsync=off: a loss of power can destroy what was handed in"
    assert (unsafe in server.output) == site.database.startswith("postgresql")


def test_warns_that_stand_alone_believes_everybody(site: Site) -> None:
    output = site.start().output
    assert "STAND-ALONE: everybody who reaches this port can be anybody" in output
    assert "OPEN TO THE NETWORK" not in output


def test_warns_louder_when_the_network_reaches_it(site: Site) -> None:
    assert "STAND-ALONE AND OPEN TO THE NETWORK at 0.0.0.0" in site.start("--host=0.0.0.0").output


def test_second_start_says_up_to_date(empty_site: Site) -> None:
    site = empty_site
    assert site.start().stop() == 0
    output = site.start().output
    assert f"revision {migrate.head()}, up to date\n" in output
    assert "upgraded" not in output


def test_with_a_hub_it_listens_where_the_hub_says(site: Site) -> None:
    server = site.start(standalone=False, **HUB)
    assert server.port != 80  # the Hub's URL names port 0, which is any
    assert f"listens on http://127.0.0.1:{server.port}/services/ngshare/\n" in server.output
    assert "Mode: service of the Hub at http://127.0.0.1:9/hub/api\n" in server.output
    assert "STAND-ALONE" not in server.output
    assert "DEBUG BEHIND A HUB" not in server.output
    wait_for("one line about the Hub", lambda: "does not answer (" in server.output)
    assert "The Hub at http://127.0.0.1:9/hub/api does not answer (" in server.output
    assert HUB["JUPYTERHUB_API_TOKEN"] not in server.output


def test_the_command_line_names_the_hubs_api(site: Site) -> None:
    environment = {**HUB, "JUPYTERHUB_API_URL": ""}
    server = site.start("--jupyterhub_api_url=http://hub:8081/api", standalone=False, **environment)
    assert "Mode: service of the Hub at http://hub:8081/api\n" in server.output


def test_the_databases_password_is_not_announced(site: Site, postgres_url: str) -> None:
    url = postgres_url.replace("postgres@", "postgres:hunter2@") + "&password=hunter2"
    arguments = ("--database", url, "--debug", "--log-level=DEBUG")
    first = site.start(*arguments)
    assert f"revision {migrate.head()}, newly created\n" in first.output
    with first.client() as ada:
        assert ada.post("course", "c").status == 200
    assert first.stop() == 0
    second = site.start(*arguments)
    assert f"revision {migrate.head()}, up to date\n" in second.output
    assert "hunter2" not in first.output + second.output


def test_a_password_need_not_stand_on_the_command_line(site: Site, postgres_url: str) -> None:
    url = postgres_url.replace("postgres@", "postgres:hunter2@")
    storage = ("--storage", str(site.storage))
    line = site.refusal("--vngshare", "--no-upgrade-db", *storage, NGSHARE_DATABASE=url)
    assert "at revision none" in line
    absent = url.replace("/test_", "/absent_")
    line = site.refusal("--vngshare", *storage, NGSHARE_DATABASE=absent)
    assert 'create it: CREATE DATABASE "absent_' in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("arguments", "warned"),
    [
        ([], False),
        (["--threads", "1", "--workers", "1"], False),
        (["--threads", "2"], True),
        (["--workers", "2"], True),
    ],
    ids=["default", "1 of each", "threads", "workers"],
)
def test_warns_of_several_threads_or_workers(
    migrated_site: Site, arguments: list[str], warned: bool
) -> None:
    output = migrated_site.start(*arguments).output
    said = [line for line in output.splitlines() if "Configured: " in line]
    assert len(said) == warned
    on_sqlite = migrated_site.database.startswith("sqlite")
    safe = "SAFE, and tested, on SQLite on a local disk: one ngshare of up to 4 workers"
    not_safe = (
        "NOT SAFE: SQLite on a network file system (NFS, SMB, CephFS), and several replicas on "
        "SQLite; use PostgreSQL for those."
    )
    if not on_sqlite:
        safe = "SAFE: several ngshare processes on one PostgreSQL, as workers, or as services"
        not_safe = "NOT SAFE: services on one database with a storage folder each."
        # A replica does not know of the others: every start says it, if not as a warning.
        said = said or [line for line in output.splitlines() if safe in line]
        assert len(said) == 1
    assert all(safe in line and not_safe in line for line in said)
    assert ("[W" in said[0] if said else False) == warned


def test_debugging_logs_no_secret_and_no_query(site: Site) -> None:
    server = site.start("--debug", "--log-level=DEBUG", standalone=False, **HUB)
    with server.client() as client:
        client.get("courses", token="a-secret-of-somebody")
    assert server.stop() == 0
    assert "DEBUG BEHIND A HUB: whoever may use this service can read every record" in server.output
    assert "a-secret-of-somebody" not in server.output
    assert HUB["JUPYTERHUB_API_TOKEN"] not in server.output


def test_other_users_of_the_machine_can_read_nothing(site: Site) -> None:
    server = site.start(command=("sh", "-c", 'umask 022; exec "$@"', "sh", *COMMAND))
    with server.client() as ada:
        assert ada.post("course", "c", instructors='["ada"]').status == 200
        assert ada.release("c", "a", {"a.txt": b"a"}).status == 200
    written = list(site.storage.rglob("*")) + list(site.folder.glob("ngshare.db*"))
    assert any(path.parent.parent.name == "blobs" for path in written)
    for path in [site.storage, *written]:
        assert path.stat().st_mode & 0o077 == 0, path
    assert "Every user of this machine" not in server.output


def test_warns_when_other_users_of_the_machine_can_read_what_is_there(
    migrated: Path,
) -> None:
    with tempfile.TemporaryDirectory(prefix="ngshare-") as name:  # pytest's are private themselves
        folder = Path(name)
        site = Site(folder)
        shutil.copy(migrated, site.database_file)
        (site.storage / "blobs").mkdir(parents=True)
        for path in (folder, site.storage, site.storage / "blobs"):
            path.chmod(0o755)
        site.database_file.chmod(0o644)
        try:
            server = site.start()
            warning = "Every user of this machine can read "
            assert (
                f"{warning}{site.database_file}: chmod -R o= {site.database_file}" in server.output
            )
            assert f"{warning}{site.storage}/blobs: chmod" in server.output
            assert server.stop() == 0
            folder.chmod(0o700)
            assert warning not in site.start().output
        finally:
            site.close()


# How it refuses: in one line, with exit code 1


Refusal = Callable[..., str]


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Return a function that starts ngshare for a site, and returns its one line of refusal.

    It runs in this process, as no start that is refused comes to serve. ``site.refusal`` starts a
    process, which takes over a second.
    """

    def run(site: Site, *arguments: str, **environment: str) -> str:
        with monkeypatch.context() as patched:
            patched.chdir(site.folder)
            for name, value in environment.items():
                patched.setenv(name, value)
            capsys.readouterr()
            with pytest.raises(SystemExit) as end:
                main(arguments)
        out, err = capsys.readouterr()
        assert (end.value.code, out) == (1, "")
        assert err.startswith("ngshare: ")
        assert err.count("\n") == 1, err
        return err.removeprefix("ngshare: ").rstrip()

    return run


@pytest.fixture
def unprivileged() -> list[str]:
    """The command, as a user to whom the permissions of files apply. They don't to root."""
    if os.geteuid() != 0:
        return list(COMMAND)
    setpriv = shutil.which("setpriv")
    require(setpriv is not None, "setpriv", "apt-get install util-linux")
    rights = "-dac_override,-dac_read_search"
    return [str(setpriv), f"--bounding-set={rights}", f"--inh-caps={rights}", *COMMAND]


def test_storage_that_cannot_be_written(migrated_site: Site, unprivileged: list[str]) -> None:
    (migrated_site.folder / "there").mkdir(mode=0o555)
    storage = f"{migrated_site.folder}/there/files"
    line = migrated_site.refusal(
        *migrated_site.arguments(), f"--storage={storage}", command=unprivileged
    )
    assert line.startswith(f"--storage {storage} cannot be written (Permission denied): create it")


@only_sqlite
@pytest.mark.parametrize("exists", [True, False], ids=["file", "folder"])
def test_database_that_cannot_be_written(
    migrated_site: Site, unprivileged: list[str], exists: bool
) -> None:
    folder = migrated_site.folder / "there"
    folder.mkdir()
    if exists:
        shutil.copy(migrated_site.database_file, folder / "ngshare.db")
        (folder / "ngshare.db").chmod(0o444)
    else:
        folder.chmod(0o555)
    url = f"sqlite:///{folder}/ngshare.db"
    for more in ([], ["--no-upgrade-db"]):
        line = migrated_site.refusal(
            *migrated_site.arguments(), "--database", url, *more, command=unprivileged
        )
        assert f"the database {folder}/ngshare.db cannot be written: give its folder" in line


def test_storage_that_cannot_be_made(refusal: Refusal, site: Site) -> None:
    (site.folder / "file").touch()
    line = refusal(site, *site.arguments(), f"--storage={site.folder}/file/storage")
    assert line.startswith(f"--storage {site.folder}/file/storage cannot be written (")
    assert "create it, give it to the user " in line


def test_database_folder_that_cannot_be_made(refusal: Refusal, site: Site) -> None:
    (site.folder / "file").touch()
    line = refusal(
        site, *site.arguments(), "--database", f"sqlite:///{site.folder}/file/below/ngshare.db"
    )
    assert f"the folder {site.folder}/file/below of the database cannot be made (" in line
    assert "create it and give it to the user " in line


def test_database_that_is_another_kind_of_file(refusal: Refusal, site: Site) -> None:
    site.database_file.write_bytes(b"not a database at all, but long enough for its header" * 20)
    line = refusal(site, *site.arguments())
    assert f"{site.database_file} does not open: file is not a database" in line


def test_database_of_a_newer_version(refusal: Refusal, migrated_site: Site) -> None:
    migrated_site.execute("UPDATE alembic_version SET version_num = 'f00d1e5'")
    line = refusal(migrated_site, *migrated_site.arguments())
    assert "at revision f00d1e5, which this ngshare does not know" in line
    assert "Start that version, or restore " in line


def test_empty_database_without_upgrade(refusal: Refusal, empty_site: Site) -> None:
    line = refusal(empty_site, *empty_site.arguments(), "--no-upgrade-db")
    assert f"at revision none, this ngshare needs {migrate.head()}" in line
    assert "Start it once without --no-upgrade-db" in line
    engine = make_engine(parse_url(empty_site.database))
    assert inspect(engine).get_table_names() == []
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://ada:hunter2@host/name", "--database names mysql; ngshare works with sqlite and"),
        ("postgresql://ada:hunter2@127.0.0.1:1/name", "Connection refused; start PostgreSQL, or"),
        ("sqlite:///file:/a/n.db?uri=true", "--database is a file: URL inside of a database URL"),
    ],
)
def test_database_url(refusal: Refusal, site: Site, url: str, reason: str) -> None:
    line = refusal(site, *site.arguments(), "--debug", "--database", url)
    assert reason in line
    assert "hunter2" not in line


def test_driver_that_is_not_installed(site: Site) -> None:
    (site.folder / "psycopg.py").write_text("raise ImportError('No module named psycopg')")
    line = site.refusal(
        *site.arguments(),
        "--database=postgresql://ada:hunter2@127.0.0.1:1/name",
        command=COMMAND,
        PYTHONPATH=str(site.folder),
    )
    assert "pip install 'ngshare[postgres]'" in line


def test_port_that_is_taken(migrated_site: Site, taken_port: int) -> None:
    line = migrated_site.refusal(*migrated_site.arguments(), "--port", str(taken_port))
    assert f"cannot listen on 127.0.0.1:{taken_port} (Address already in use)" in line
    assert "Stop it, or choose another port with --port" in line


def test_port_that_is_taken_says_where_the_hubs_configuration_names_it(
    migrated_site: Site, taken_port: int
) -> None:
    hub = {**HUB, "JUPYTERHUB_SERVICE_URL": f"http://127.0.0.1:{taken_port}"}
    arguments = migrated_site.arguments(standalone=False)
    assert "another port with JUPYTERHUB_SERVICE_URL" in migrated_site.refusal(*arguments, **hub)


def test_address_of_another_machine(migrated_site: Site) -> None:
    line = migrated_site.refusal(*migrated_site.arguments(), "--host=192.0.2.1")
    assert "name an address of this machine with --host" in line


def test_without_any_variable_of_the_hub(site: Site) -> None:
    line = site.refusal(*site.arguments(standalone=False))
    for variable in NEEDED:
        assert variable in line


@pytest.mark.parametrize(
    "url",
    ["http://", "hub:8081/hub/api", "http:///hub/api", "http://hub:port/hub/api", "ftp://hub"],
)
def test_api_url_that_is_none(refusal: Refusal, migrated_site: Site, url: str) -> None:
    arguments = migrated_site.arguments(standalone=False)
    line = refusal(migrated_site, *arguments, **{**HUB, "JUPYTERHUB_API_URL": url})
    assert f"the Hub's API cannot be at {url!r}" in line
    assert "as in http://127.0.0.1:8081/hub/api" in line


@pytest.mark.parametrize("name", ["JUPYTERHUB_OAUTH_ACCESS_SCOPES", "JUPYTERHUB_OAUTH_SCOPES"])
@pytest.mark.parametrize("scopes", ["foo", "5", '"access:services"', "[1]", "[" * 100_000])
def test_scopes_that_are_no_list(
    refusal: Refusal, migrated_site: Site, name: str, scopes: str
) -> None:
    arguments = migrated_site.arguments(standalone=False)
    line = refusal(migrated_site, *arguments, **{**HUB, name: scopes})
    assert line.startswith(f"{name} is '{scopes[:50]}")
    assert 'as in ["access:services!service=ngshare"], or not set' in line
    assert len(line) < 1000


def test_service_url_that_says_nothing(refusal: Refusal, migrated_site: Site) -> None:
    url = "127.0.0.1:8080"
    line = refusal(
        migrated_site,
        *migrated_site.arguments(standalone=False),
        **{**HUB, "JUPYTERHUB_SERVICE_URL": url},
    )
    assert f"JUPYTERHUB_SERVICE_URL is {url!r}" in line
    assert "as in http://127.0.0.1:10101" in line


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--prefix", "api/"], "the prefix 'api/' must begin and end with a slash"),
        (["--nonsense=x"], "'--nonsense' is not understood"),
        (["--port", "http"], "'port' trait of a Ngshare instance expected an int"),
    ],
    ids=["prefix", "unknown", "port"],
)
def test_command_line_that_is_wrong(
    refusal: Refusal, site: Site, arguments: list[str], reason: str
) -> None:
    assert reason in refusal(site, *site.arguments(), *arguments)


@pytest.mark.parametrize(
    "line",
    [
        'c.Ngshare.database = "postgresql://ada:hunter2@host/name",',
        'c.Ngshare.database = b"postgresql://ada:hunter2@host/name"',
        'c.Ngshare.admins = {"ada": "postgresql://ada:hunter2@host/name"}',
        'int("postgresql://ada:hunter2/@host/name")',
    ],
)
def test_a_mistake_beside_a_password_does_not_show_it(
    refusal: Refusal, site: Site, line: str
) -> None:
    (site.folder / "ngshare_config.py").write_text(line)
    assert "hunter2" not in refusal(site, "--vngshare", "--port", "0")


def test_a_password_in_a_wrong_place_of_the_command_line_is_not_shown(
    refusal: Refusal, site: Site
) -> None:
    for argument in ("postgresql://ada:hunter2@host/name", "--debug=postgresql://ada:hunter2@h/n"):
        assert "hunter2" not in refusal(site, "--vngshare", "--port", "0", argument)


def test_migrations_that_are_missing(site: Site) -> None:
    package = Path(ngshare.__file__).parent
    shutil.copytree(
        package, site.folder / "ngshare", ignore=shutil.ignore_patterns("__pycache__", "_alembic")
    )
    line = site.refusal(*site.arguments(), command=COMMAND, PYTHONPATH=str(site.folder))
    assert f"The migrations are missing from {site.folder}/ngshare/_alembic" in line
    assert "install ngshare again" in line


# What it accepts


@pytest.mark.parametrize("separate", [True, False], ids=["--flag value", "--flag=value"])
def test_every_flag_of_old_deployments(site: Site, separate: bool) -> None:
    folder = site.folder
    values = {
        "--database": f"sqlite:///{folder}/old.db",
        "--storage": f"{folder}/old files",
        "--admins": "ada,grace",
        "--jupyterhub_api_url": "http://hub:8081/hub/api",
        "--prefix": "/old/",
        "--host": "127.0.0.1",
        "--port": "0",
    }
    given = [
        part
        for name, value in values.items()
        for part in ([name, value] if separate else [f"{name}={value}"])
    ]
    server = site.start("--vngshare", "--debug", *given)
    assert f"listens on http://127.0.0.1:{server.port}/old/\n" in server.output
    assert f"Database: sqlite:///{folder}/old.db, " in server.output
    assert f"Storage: {folder}/old files\n" in server.output
    assert "Admins: ada, grace\n" in server.output
    assert "Mode: stand-alone, debug\n" in server.output
    assert server.stop() == 0

    again = site.start("--vngshare", *given, "--no-upgrade-db", "--admins=")
    assert "up to date\n" in again.output


def test_no_admins(site: Site) -> None:
    assert "Admins: none; nobody can create a course\n" in site.start(admins="").output


def test_configuration_file_is_read_and_the_command_line_wins(site: Site) -> None:
    (site.folder / "ngshare_config.py").write_text(
        f"""
c.Ngshare.admins = ["from-file"]
c.Ngshare.prefix = "/from-file/"
c.Ngshare.debug = True
c.Ngshare.storage = {str(site.folder / "from-file")!r}
"""
    )
    output = site.start().output
    assert f"Storage: {site.storage}\n" in output
    assert "Admins: ada\n" in output
    assert "/from-file/\n" in output
    assert "Mode: stand-alone, debug\n" in output


@pytest.mark.parametrize("flag", ["--help", "--help-all"])
def test_help(site: Site, flag: str) -> None:
    result = site.run(flag, command=COMMAND)
    assert result.returncode == 0
    assert result.stderr == ""
    for name in ("--database", "--storage", "--admins", "--no-upgrade-db", "--vngshare", "--debug"):
        assert name in result.stdout
    assert ("--Ngshare.max_request_mib" in result.stdout) == (flag == "--help-all")


def test_generated_configuration_works(site: Site) -> None:
    result = site.run("--generate-config")
    assert (result.returncode, result.stdout) == (0, "Wrote ngshare_config.py\n")
    text = (site.folder / "ngshare_config.py").read_text()
    assert "# c.Ngshare.database = 'sqlite:////srv/ngshare/ngshare.db'" in text
    assert os.listdir(site.folder) == ["ngshare_config.py"]
    site.start()


NOTE_WHAT_IS_KEPT = """
import gc, os
freeze = gc.freeze
gc.freeze = lambda: (freeze(), os.write(1, b"kept %d\\n" % (gc.get_freeze_count() > 10_000)))
from ngshare.app import main
main()
"""


def test_every_worker_leaves_what_is_there_out_of_garbage_collections(migrated_site: Site) -> None:
    server = migrated_site.start("--workers=2", command=(sys.executable, "-c", NOTE_WHAT_IS_KEPT))
    wait_for("both workers", lambda: server.output.count("kept 1\n") == 2)
    assert server.stop() == 0
