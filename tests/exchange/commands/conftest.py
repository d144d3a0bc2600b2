"""A running service, and a user's folder in which the commands run in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ngshare.exchange.commands import base
from tests.exchange.running_service import ADMIN, RunningService, running_service


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[RunningService]:
    """A stand-alone service with the admin ``root``."""
    with running_service(database_url, tmp_path / "service") as service:
        yield service


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a user, with a home and Jupyter's folders of its own."""
    folder = tmp_path / "course"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path / "etc"))
    monkeypatch.setenv("JUPYTER_NO_CONFIG", "")
    (tmp_path / "etc").mkdir()
    return folder


@pytest.fixture
def as_user(
    service: RunningService, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Let the commands reach the service as this user; the admin at first."""

    def become(name: str) -> None:
        monkeypatch.setenv("JUPYTERHUB_USER", name)

    monkeypatch.setenv("NGSHARE_URL", service.url)
    monkeypatch.setattr(base, "RETRY_SECONDS", 0.0)
    become(ADMIN)
    return become
