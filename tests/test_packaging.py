"""The wheel, an editable install and a plain checkout: each has all it needs, in any folder."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

import pytest

from ngshare import __version__
from ngshare.db import migrate
from tests.process.site import Site
from tests.require import require

ROOT = Path(__file__).parents[1]
PATIENCE = 300
SHIPPED = (
    *("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "alembic.ini", "Dockerfile"),
    *("ngshare", "alembic", "docs", "helm", "tests", ".ci"),
)


@dataclass
class Environment:
    """A virtual environment without pip, which sees the dependencies that the tests have."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        [found] = self.folder.glob("lib/python*/site-packages")
        return found

    def see(self, packages: str | Path) -> None:
        """Let it import from there too; what it has itself comes first."""
        (self.packages / f"see-{Path(packages).parents[2].name}.pth").write_text(f"{packages}\n")

    def run(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        """Run its Python, and return what that prints."""
        return _run(self.python, *arguments, cwd=cwd or self.folder)

    def pip(self, *arguments: str | Path) -> None:
        """Run the pip of the tests on it."""
        _run(
            *(sys.executable, "-m", "pip", "--disable-pip-version-check"),
            *("--python", self.python, *arguments),
            cwd=self.folder,
        )


def _run(*command: str | Path, cwd: Path) -> str:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONSAFEPATH", "VIRTUAL_ENV")
    }
    result = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    offline = "No matching distribution found" in result.stderr
    require(not offline, "the Python package index", "pip must reach it for setuptools and wheel")
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packaging")


def new_environment(folder: Path, *, dependencies: bool = True) -> Environment:
    venv.create(folder, symlinks=True)
    environment = Environment(folder)
    if dependencies:
        environment.see(sysconfig.get_path("purelib"))
    return environment


@pytest.fixture(scope="module")
def builder(folder: Path) -> Environment:
    """An environment with what building needs, and nothing else."""
    builder = new_environment(folder / "builder", dependencies=False)
    builder.pip("install", "--quiet", "setuptools>=77", "wheel")
    return builder


@pytest.fixture(scope="module")
def checkout(folder: Path) -> Path:
    """A copy of the checkout, so that building leaves nothing in the real one."""
    copy = folder / "checkout"
    copy.mkdir()
    for name in SHIPPED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    return copy


@pytest.fixture(scope="module")
def source(folder: Path, builder: Environment, checkout: Path) -> Path:
    """The source distribution."""
    builder.run("setup.py", "-q", "sdist", "--dist-dir", folder / "dist", cwd=checkout)
    [source] = (folder / "dist").glob("*.tar.gz")
    return source


@pytest.fixture(scope="module")
def wheel(folder: Path, builder: Environment, source: Path) -> Path:
    """The wheel, made from the source distribution: the way that loses what is not declared."""
    builder.pip(
        *("wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--wheel-dir", folder / "dist", source),
    )
    [wheel] = (folder / "dist").glob("*.whl")
    return wheel


@dataclass
class Installation:
    """One way to have ngshare: a command that starts it, and where its migrations are."""

    environment: Environment
    command: tuple[str, ...]
    migrations: Path
    cwd: Path


@pytest.fixture(scope="module")
def from_wheel(folder: Path, wheel: Path) -> Installation:
    environment = new_environment(folder / "installed", dependencies=False)
    environment.pip("install", "--quiet", "--no-deps", "--no-index", wheel)
    environment.see(sysconfig.get_path("purelib"))
    return Installation(
        environment,
        (str(environment.folder / "bin" / "vngshare"),),
        environment.packages / "ngshare" / "_alembic",
        folder,
    )


@pytest.fixture(scope="module")
def editable(folder: Path, builder: Environment, checkout: Path) -> Installation:
    environment = new_environment(folder / "editable", dependencies=False)
    environment.see(builder.packages)
    environment.pip("install", "--quiet", "--no-deps", "--no-build-isolation", "-e", checkout)
    environment.see(sysconfig.get_path("purelib"))
    return Installation(
        environment,
        (str(environment.folder / "bin" / "vngshare"),),
        checkout / "alembic",
        folder,
    )


@pytest.fixture(scope="module")
def plain(folder: Path, checkout: Path) -> Installation:
    environment = new_environment(folder / "plain")
    command = ("env", f"--chdir={checkout}", str(environment.python), "-m", "ngshare")
    return Installation(environment, command, checkout / "alembic", checkout)


EXTENSION = "etc/jupyter/jupyter_server_config.d/ngshare.json"
"""What enables the extension of users' Jupyter servers, in the folder of the environment."""


@pytest.fixture(params=["from_wheel", "editable", "plain"])
def installation(request: pytest.FixtureRequest) -> Installation:
    return request.getfixturevalue(request.param)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def test_wheel_holds_everything_that_the_service_reads(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "ngshare").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    migrations = {
        f"ngshare/_alembic/{path.relative_to(ROOT / 'alembic')}"
        for path in (ROOT / "alembic").rglob("*")
        if path.suffix in (".py", ".mako")
    }
    assert "ngshare/py.typed" in package
    assert "ngshare/web/pages/templates/base.html" in package
    assert "ngshare/web/pages/static/favicon.png" in package
    assert {"ngshare/_alembic/env.py", "ngshare/_alembic/script.py.mako"} < migrations
    assert len([name for name in migrations if "/versions/" in name]) >= 3
    information = {name for name in names if ".dist-info/" in name}
    data = {name for name in names if ".data/data/" in name}
    assert names - information - data == package | migrations
    assert [name.partition(".data/data/")[2] for name in data] == [EXTENSION]


def test_source_distribution_is_the_whole_repository(source: Path, checkout: Path) -> None:
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for path in ("docs/index.md", "helm/ngshare/templates/pvc.yaml", "tests/web/world.py"):
        assert path in names
    for folder in ("docs", "helm", "tests", ".ci", "alembic"):
        missing = {
            str(path.relative_to(checkout))
            for path in (checkout / folder).rglob("*")
            if path.is_file() and "_build" not in path.parts and path.suffix != ".pyc"
        } - names
        assert not missing
    assert {"alembic.ini", "Dockerfile", "MANIFEST.in"} < names


def test_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
        commands = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert (metadata["Name"], metadata["Version"]) == ("ngshare", __version__)
    assert metadata["Requires-Python"] == ">=3.10"
    assert set(metadata.get_all("Provides-Extra", [])) >= {"postgres", "test", "docs"}
    assert "](docs/" not in metadata.get_payload()
    assert "](https://jupyter.org/hub)" in metadata.get_payload()
    assert "ngshare = ngshare.__main__:main\n" in commands
    assert "ngshare-course-management = ngshare.exchange.commands.management:main\n" in commands
    assert "vngshare = ngshare.app:main_standalone\n" in commands


def test_an_installation_enables_the_extension(from_wheel: Installation) -> None:
    """An editable one does not: pip copies no such files for it, so ``make install`` does."""
    enabled = json.loads((from_wheel.environment.folder / EXTENSION).read_text())
    [name] = enabled["ServerApp"]["jpserver_extensions"]
    from_wheel.environment.run("-c", f"import {name}", cwd=from_wheel.cwd)


def test_it_finds_its_migrations(installation: Installation) -> None:
    code = "from ngshare.db import migrate; print(migrate.migrations_folder(), migrate.head())"
    printed = installation.environment.run("-c", code, cwd=installation.cwd)
    assert printed == f"{installation.migrations} {migrate.head()}\n"


def test_it_starts_and_starts_again(installation: Installation, site: Site) -> None:
    first = site.start(command=installation.command)
    assert f"revision {migrate.head()}, newly created\n" in first.output
    for path in ("/healthz", "/api/healthz", "/api/favicon.ico", "/api/?user=ada"):
        connection = http.client.HTTPConnection("127.0.0.1", first.port, timeout=PATIENCE)
        connection.request("GET", path, headers={"Accept": "text/html"})
        assert connection.getresponse().status == 200, path
        connection.close()
    assert first.stop() == 0
    second = site.start(command=installation.command)
    assert f"revision {migrate.head()}, up to date\n" in second.output
    assert second.stop() == 0


def test_the_commands_that_the_wheel_installs(from_wheel: Installation) -> None:
    for name in ("ngshare", "vngshare"):
        printed = _run(
            from_wheel.environment.folder / "bin" / name, "--version", cwd=from_wheel.cwd
        )
        assert printed.strip() == __version__
