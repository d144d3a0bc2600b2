"""The command line and the configuration, without listening; ``tests/process`` has the rest."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from jupyterhub.services.auth import HubOAuth

from ngshare.app import Ngshare, SiteApplication, main
from ngshare.commands.trash import Purge, Restore
from ngshare.db.migrate import head
from ngshare.runtime import logs
from ngshare.web.auth.hub_client import OVERRIDDEN

HUB = {
    "JUPYTERHUB_API_TOKEN": "the-token-of-the-service",
    "JUPYTERHUB_API_URL": "http://127.0.0.1:9/hub/api",
    "JUPYTERHUB_CLIENT_ID": "service-ngshare",
    "JUPYTERHUB_SERVICE_NAME": "ngshare",
    "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:0",
}

Refusal = Callable[..., str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder; and the logging of the tests stays as it is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logs, "configure_logging", lambda *arguments: None)
    return tmp_path


@pytest.fixture
def in_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a service of a Hub."""
    for name, value in HUB.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def refusal(folder: Path, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Runs the command, and returns the one line with which it refuses to start."""

    def run(*arguments: str) -> str:
        own = [f"--database=sqlite:///{folder}/ngshare.db", f"--storage={folder}/files"]
        with pytest.raises(SystemExit) as end:
            main([*own, *arguments])
        out, err = capsys.readouterr()
        assert end.value.code == 1
        assert out == ""
        assert err.startswith("ngshare: ")
        assert err.count("\n") == 1, err
        return err.removeprefix("ngshare: ").rstrip()

    return run


def configured(*arguments: str) -> Ngshare:
    app = Ngshare()
    app.initialize(arguments)
    return app


# Reading the command line


def test_defaults_are_those_of_old_deployments() -> None:
    app = configured()
    assert app.database == "sqlite:////srv/ngshare/ngshare.db"
    assert app.storage == "/srv/ngshare/files/"
    assert (app.host, app.port, app.prefix) == ("127.0.0.1", 12121, "/api/")
    assert (app.admins, app.debug, app.standalone, app.upgrade_database) == ([], False, False, True)
    assert (app.threads, app.workers) == (1, 1)


def test_the_environment_names_the_database_where_nothing_else_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NGSHARE_DATABASE", "sqlite:////environment.db")
    assert configured().database == "sqlite:////environment.db"
    assert configured("--database=sqlite:////flag.db").database == "sqlite:////flag.db"
    (folder / "ngshare_config.py").write_text("c.Ngshare.database = 'sqlite:////file.db'")
    assert configured().database == "sqlite:////file.db"
    monkeypatch.setenv("NGSHARE_DATABASE", "")
    (folder / "ngshare_config.py").unlink()
    assert configured().database == "sqlite:////srv/ngshare/ngshare.db"


@pytest.mark.parametrize(
    ("flag", "value", "trait", "expected"),
    [
        ("--database", "sqlite:////x.db", "database", "sqlite:////x.db"),
        ("--storage", "/x/", "storage", "/x/"),
        ("--admins", "ada,grace", "admins", ["ada", "grace"]),
        ("--admins", " ada, , grace ", "admins", ["ada", "grace"]),
        ("--jupyterhub_api_url", "http://hub/api", "hub_api_url", "http://hub/api"),
        ("--prefix", "/x/", "prefix", "/x/"),
        ("--host", "::1", "host", "::1"),
        ("--port", "80", "port", 80),
        ("--threads", "3", "threads", 3),
        ("--workers", "3", "workers", 3),
    ],
)
def test_both_spellings_of_a_flag(flag: str, value: str, trait: str, expected: object) -> None:
    assert getattr(configured(flag, value), trait) == expected
    assert getattr(configured(f"{flag}={value}"), trait) == expected


def test_flags_without_a_value() -> None:
    app = configured("--debug", "--no-upgrade-db", "--vngshare")
    assert (app.debug, app.upgrade_database, app.standalone) == (True, False, True)


def test_a_trusted_proxy_is_an_address_or_a_network(refusal: Refusal) -> None:
    assert "'ingress', which is neither" in refusal("--Ngshare.trusted_proxies=10.0.0.0/8,ingress")
    app = configured("--Ngshare.trusted_proxies=10.0.0.0/8,::1", "--Ngshare.host_names=a.b, c.d")
    assert app.trusted_proxies == ["10.0.0.0/8", "::1"]
    assert app.host_names == ["a.b", "c.d"]


def test_no_admins_on_the_command_line_wins_over_the_file(folder: Path) -> None:
    (folder / "ngshare_config.py").write_text("c.Ngshare.admins = ['ada']")
    assert configured().admins == ["ada"]
    assert configured("--admins=").admins == []


def test_of_a_flag_that_stands_twice_the_last_counts() -> None:
    assert configured("--port=1", "--host", "a", "--port", "2").port == 2
    assert configured("--admins=ada", "--admins", "grace,joan").admins == ["grace", "joan"]


def test_options_and_words_may_come_in_any_order() -> None:
    restore = Restore()
    restore.initialize(["a1", "--as", "x", "a2", "--as=-y", "-f="])
    assert (restore.arguments, restore.new_name, restore.config_file) == (["a1", "a2"], "-y", "")


def test_commands_find_the_site_in_the_section_of_the_service(folder: Path) -> None:
    (folder / "ngshare_config.py").write_text(
        "c.Ngshare.database = 'sqlite:////file.db'; c.Ngshare.storage = '/file/'\n"
        "c.Ngshare.admins = ['ada']; c.Ngshare.threads = 4; c.Ngshare.keep_removed_days = 7\n"
    )
    purge = Purge()
    purge.initialize(["--storage=/flag/", "--yes"])
    assert (purge.database, purge.storage) == ("sqlite:////file.db", "/flag/")
    assert (purge.keep_removed_days, purge.yes) == (7, True)
    assert not isinstance(purge, Ngshare)


def test_the_hub_names_the_prefix_unless_the_command_line_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/services/x/")
    assert configured().prefix == "/services/x/"
    assert configured("--prefix=/y/").prefix == "/y/"


def test_another_configuration_file(folder: Path) -> None:
    (folder / "ngshare_config.py").write_text("c.Ngshare.port = 1; c.Ngshare.host = 'a'")
    (folder / "mine.py").write_text("c.Ngshare.port = 2")
    app = configured("--config", "mine.py")
    assert (app.port, app.host) == (2, "127.0.0.1")


def test_settings_of_every_kind_may_stand_in_the_file(folder: Path) -> None:
    (folder / "ngshare_config.py").write_text(
        "c.Ngshare.max_files = 5; c.Application.log_level = 30; c.SharedHubAuth.patience = 1.5;"
        "c.HubAuth.cache_max_age = 60; c.Gc.hours = 48\n"
        "c.Nothing  # an empty section is no mistake\n"
    )
    app = configured("--Ngshare.max_course_mib=7", "--log-json")
    assert (app.max_files, app.max_course_mib, app.json_logs, app.log_level) == (5, 7, True, 30)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert not end.value.code
    assert capsys.readouterr().out.strip() == Ngshare.version.default_value


# Refusing to start


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--databse=x"], "'--databse' is not understood; did you mean --database?"),
        (["--debgu"], "'--debgu' is not understood; did you mean --debug?"),
        (["--admin", "root"], "'--admin' is not understood; did you mean --admins?"),
        (["--xyz"], "'--xyz' is not understood; see ngshare --help-all"),
        (["--debug", "db"], "db is a command: it comes first; did you mean ngshare db ...?"),
        (["serve"], "'serve' is not understood; see ngshare --help-all"),
        (["strage", "check"], "'strage' is not understood; did you mean storage?"),
        (["--Ngshare.admin=root"], "no setting Ngshare.admin; did you mean Ngshare.admins?"),
        (["--Ngshre.admins=root"], "no setting Ngshre.admins; did you mean Ngshare.admins?"),
        (["--Ngshare.xyz=1"], "there is no setting Ngshare.xyz; see ngshare --help-all"),
        (["--SharedHubAuth.cache_sz=1"], "did you mean SharedHubAuth.cache_size?"),
        (["--debug=yes"], "--debug takes no value; see ngshare --help-all"),
        (["--database"], "--database needs a value; see ngshare --help-all"),
        (["-f"], "--config needs a value; see ngshare --help-all"),
        (["--Ngshare.workers"], "--workers needs a value; see ngshare --help-all"),
        (["--port=http"], "wrong setting: The 'port' trait of a Ngshare instance expected an int"),
        (["--port=65536"], "'port' trait of a Ngshare instance should not be greater than 65535"),
        (["--port=-1"], "the 'port' trait of a Ngshare instance should not be less than 0, but"),
        (["--threads=0"], "'threads' trait of a Ngshare instance should not be less than 1, but"),
        (["--workers=0"], "'workers' trait of a Ngshare instance should not be less than 1, but"),
        (
            ["--Ngshare.max_request_mib=0"],
            "'max_request_mib' trait of a Ngshare instance should not be less than",
        ),
        (
            ["--Ngshare.debug=x"],
            "'debug' trait of a Ngshare instance expected a boolean, not the str",
        ),
        (["--log-level=LOUD"], "'log_level' trait of a Ngshare instance expected any of [0, 10"),
        (["--storage="], "--storage is empty; name the folder of the files"),
        (["--storage= "], "--storage is empty; name the folder of the files"),
        (["--admins=ada,b/c"], "--admins names 'b/c', which no user can have: "),
        (["--Ngshare.port.number=1"], "'--Ngshare.port.number' is not understood; see"),
        (["--max_files=1"], "'--max_files' is not understood; see ngshare --help-all"),
        (
            ["--Ngshare.max_files=0"],
            "'max_files' trait of a Ngshare instance should not be less than 1",
        ),
        (["--config=absent.py"], "there is no configuration file absent.py"),
        (["--prefix=x/"], "the prefix 'x/' must begin and end with a slash"),
        (["--prefix=/x"], "the prefix '/x' must begin and end with a slash"),
        (["--prefix=x"], "the prefix 'x' must begin and end with a slash, as in /services/"),
        (["--prefix="], "the prefix '' must begin and end with a slash"),
        (["--prefix=/healthz/x/"], "the prefix must not begin with /healthz/"),
        (["--database=sqlite://x/y.db"], "--database has two slashes; write sqlite:////x/y.db"),
        (["--database=sqlite://y.db"], "--database has two slashes; write sqlite:////y.db for /y"),
        (["--database=sqlite://"], "--database is a database in memory, which is lost"),
        (["--database=sqlite:///:memory:"], "--database is a database in memory, which is lost"),
        (["--database=mysql://ada:hunter2@host/x"], "--database names mysql; ngshare works with"),
        (["--database=hunter2 nonsense"], "--database is not a database URL; write sqlite:////"),
        (["--database="], "--database is not a database URL; write sqlite:////"),
        (["--database=postgresql://ada:hunter2@host:x/y"], "--database is not a database URL"),
        (["--database=postgresql://ada:x@hunter2@host/y"], "--database has more than one @"),
        (["--database=postgresql://ada:x@h/hunter2@host/y"], "--database has more than one @"),
        (["--vngshare", "--storage=/etc/passwd"], "--storage /etc/passwd is no folder: name"),
        (["--vngshare", "--storage=/proc/self"], "--storage /proc/self cannot be written ("),
        (["--vngshare", "--host=no such host"], "cannot listen on no such host:12121 ("),
        (["--vngshare", "--host=no such host"], "no address of 'no such host' is known; name"),
        (["--generate-config", "--config=absent/x.py"], "absent/x.py cannot be written ("),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    refusal: Refusal, arguments: list[str], reason: str
) -> None:
    line = refusal(*arguments)
    assert reason in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:hunter2@127.0.0.1:1/name",
        "postgresql://ada@127.0.0.1:1/name?password=hunter2",
        "postgresql://ada@127.0.0.1:1/name?sslpassword=hunter2",
        "postgresql://ada:hunter2@127.0.0.1:1/name?nonsense=1",
    ],
)
def test_the_databases_password_is_never_shown(refusal: Refusal, url: str) -> None:
    line = refusal("--vngshare", "--debug", "--log-level=DEBUG", "--database", url)
    assert "does not open: " in line
    assert "hunter2" not in line


def test_wrong_setting_in_the_file_does_not_show_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "ngshare_config.py").write_text("c.Ngshare.port = 'http'")
    with pytest.raises(SystemExit):
        main(["--log-level=DEBUG", "--database=postgresql://ada:hunter2@host/name"])
    err = capsys.readouterr().err
    assert "The 'port' trait of a Ngshare instance expected an int, not the str 'http'" in err
    assert "hunter2" not in err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("c.Ngshare.admins = undefined", "does not work: NameError: name 'undefined'"),
        ("c.Ngshare.admins =", "does not work: SyntaxError: "),
        ("raise ValueError('two\\nlines')", "does not work: ValueError: two lines"),
        ("c.Ngshare.port = 'http'", "ngshare_config.py: wrong setting: The 'port' trait of a Ngs"),
        ("c.JupyterHub.port = 1", "there is no setting JupyterHub.port; see ngshare --help-all"),
        ("c.Ngshare.admns = ['ada']", "no setting Ngshare.admns; did you mean Ngshare.admins?"),
        ("c.Ngshare.admns.append('ada')", "setting Ngshare.admns; did you mean Ngshare.admins?"),
        ("c.Ngshre.admins = ['ada']", "no setting Ngshre.admins; did you mean Ngshare.admins?"),
        ("c.ngshare.admins = ['ada']", "there is no setting ngshare; did you mean Ngshare?"),
        ("c.admins = ['ada']", "there is no setting admins; did you mean Ngshare.admins?"),
        ("c.Gc.hurs = 48", "there is no setting Gc.hurs; see ngshare --help-all"),
        ("c.Nonsense.x = 1", "there is no setting Nonsense.x; see ngshare --help-all"),
        ("c.Ngshare.prefix = 'x'", "the prefix 'x' must begin and end with a slash"),
    ],
)
def test_configuration_file_that_does_not_work(
    folder: Path, refusal: Refusal, text: str, reason: str
) -> None:
    (folder / "ngshare_config.py").write_text(text)
    assert reason in refusal()


def test_configuration_file_of_another_kind(folder: Path, refusal: Refusal) -> None:
    (folder / "ngshare.conf").write_text("c.Ngshare.port = 1")
    assert "ngshare.conf must be named *.py or *.json" in refusal("--config=ngshare.conf")


def test_configuration_file_is_generated_under_the_name_that_was_given(folder: Path) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--generate-config", "--config=mine.py"])
    assert end.value.code == 0
    assert "c.Ngshare.port" in (folder / "mine.py").read_text()


def test_configuration_file_is_never_overwritten(folder: Path, refusal: Refusal) -> None:
    (folder / "ngshare_config.py").write_text("c.Ngshare.port = 1")
    assert "ngshare_config.py exists already" in refusal("--generate-config")
    assert (folder / "ngshare_config.py").read_text() == "c.Ngshare.port = 1"


@pytest.mark.parametrize("variable", sorted(HUB))
def test_variable_of_the_hub_that_is_missing(
    refusal: Refusal, in_hub: None, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv(variable)
    line = refusal()
    assert line.startswith(f"{variable} not set: let JupyterHub launch ngshare")
    assert "configure_hub(c)" in line
    assert "--vngshare" in line


def test_nothing_is_touched_before_the_hubs_variables_are_known(
    folder: Path, refusal: Refusal
) -> None:
    refusal()
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "https://127.0.0.1:8080", "http://:8080", "http://h:99999", "http://"]
)
def test_service_url_that_does_not_say_where_to_listen(
    refusal: Refusal, in_hub: None, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", url)
    assert f"JUPYTERHUB_SERVICE_URL is {url!r}; it must say where to listen" in refusal()


@pytest.mark.parametrize("url", ["hub:8081", "/hub/api", "ftp://hub/api"])
def test_api_of_the_hub_that_is_no_url(refusal: Refusal, in_hub: None, url: str) -> None:
    assert f"the Hub's API cannot be at {url!r}" in refusal(f"--jupyterhub_api_url={url}")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_setting_of_the_hub_client_that_is_wrong(
    folder: Path, refusal: Refusal, in_hub: None, workers: str
) -> None:
    line = refusal("--SharedHubAuth.patience=long", f"--workers={workers}")
    assert (
        "'patience' trait of a SharedHubAuth instance expected a float, not the str 'long'" in line
    )
    assert HUB["JUPYTERHUB_API_TOKEN"] not in line
    assert os.listdir(folder) == []


def test_prefix_of_the_hub_that_is_wrong(refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/services/ngshare")
    assert "the prefix '/services/ngshare' must begin and end" in refusal("--vngshare")


def test_database_in_the_environment_that_is_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NGSHARE_DATABASE", "mysql://ada:hunter2@db/ngshare")
    with pytest.raises(SystemExit):
        main(["--vngshare", f"--storage={folder}/files"])
    line = capsys.readouterr().err
    assert line.startswith("ngshare: $NGSHARE_DATABASE names mysql; ngshare works with")
    assert "hunter2" not in line


def test_database_that_is_a_folder(folder: Path, refusal: Refusal) -> None:
    (folder / "ngshare.db").mkdir()
    assert "does not open: unable to open database file" in refusal("--vngshare")


def test_database_that_is_another_programs_file(folder: Path, refusal: Refusal) -> None:
    (folder / "ngshare.db").write_text("a text, and no database at all\n" * 99)
    line = refusal("--vngshare")
    assert "does not open: file is not a database; is it another program's file?" in line
    assert (folder / "ngshare.db").read_text().startswith("a text, and no database")


def test_database_parameter_that_is_wrong(folder: Path, refusal: Refusal) -> None:
    url = f"sqlite:///{folder}/ngshare.db?timeout=long"
    assert "The database's URL has a wrong parameter" in refusal("--vngshare", "--database", url)


def test_upgrade_lock_that_cannot_be_opened(folder: Path, refusal: Refusal) -> None:
    lock = folder / "ngshare.db.upgrade-lock"
    lock.symlink_to(folder / "absent" / "lock")
    assert f"{lock}, which keeps two upgrades apart, cannot be opened" in refusal("--vngshare")


def test_database_that_is_behind_without_upgrade(folder: Path, refusal: Refusal) -> None:
    with sqlite3.connect(folder / "ngshare.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('1921a169739b')")
    connection.close()
    line = refusal("--vngshare", "--no-upgrade-db")
    assert f"at revision 1921a169739b, this ngshare needs {head()}" in line
    assert "Start it once without --no-upgrade-db to upgrade it, or run ngshare db upgrade" in line


def test_relative_database_is_said_to_be_one(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = ("--database=sqlite:///some/x.db", "--storage=files", "--host=no such host")
    with pytest.raises(SystemExit):
        main(["--vngshare", *arguments])
    assert (folder / "some" / "x.db").exists()
    [line] = [each for each in caplog.messages if "relative" in each]
    assert f"it is {folder}/some/x.db" in line
    assert "For /some/x.db write four slashes: sqlite:////some/x.db" in line


def test_generated_file_lists_each_setting_once_and_nothing_else(folder: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--generate-config"])
    text = (folder / "ngshare_config.py").read_text()
    names = re.findall(r"^# c\.(\w+\.\w+) = ", text, re.MULTILINE)
    assert len(names) == len(set(names))
    assert {name.partition(".")[0] for name in names} == {"Ngshare", "SharedHubAuth"}
    assert {"Ngshare.database", "SharedHubAuth.patience", "SharedHubAuth.cache_max_age"} < {*names}
    assert "## The folder that holds the files\n# c.Ngshare.storage = '/srv/ng" in text
    # Every one of them is known, and may be what it is anyhow.
    (folder / "ngshare_config.py").write_text(
        re.sub(r"^# (c\.\S+ = (?!\.\.\.|''))", r"\1", text, flags=re.MULTILINE)
    )
    assert configured().port == 12121


def test_help_shows_options_as_they_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {}
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            main([flag])
        shown[flag] = capsys.readouterr().out
        for option in {*Ngshare.aliases, *Ngshare.flags} - {"f"}:
            assert f"  --{option}" in shown[flag]
        for words in ("--admins=a,b\n", "--port=N ", "--version", "  storage "):
            assert words in shown[flag]
        for words in ("names-item", "trait", "This is an application", "HubOAuth"):
            assert words not in shown[flag]
    assert "SharedHubAuth.cache_size" not in shown["--help"]
    for name in {
        **SiteApplication.class_own_traits(config=True),
        **Ngshare.class_own_traits(config=True),
    }:
        if name not in ("config_file", "generate_config", "log_format", "log_datefmt"):
            aliased = f"Ngshare.{name}" in Ngshare.aliases.values()
            by_flag = any(name in dict(values)["Ngshare"] for values, _ in Ngshare.flags.values())
            assert (f"--Ngshare.{name}=" in shown["--help-all"]) != (aliased or by_flag), name


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_a_jupyterhub_without_something_that_is_overridden_stops_the_start(
    refusal: Refusal, in_hub: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for each in HubOAuth.__mro__:
        if name in vars(each):
            monkeypatch.delattr(each, name)
    line = refusal()
    assert f"no {name}," in line
    assert "docs/install-hub.md" in line
