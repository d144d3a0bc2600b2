"""The Hub that the tests of this folder share, and the programs that they run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import Databases
from tests.hub.running import RunningHub
from tests.require import require

CACHE = Path.home() / ".cache" / "ngshare"


@pytest.fixture(scope="session")
def proxy_program() -> Path:
    """The program configurable-http-proxy, which every JupyterHub has before it."""
    folder = Path(os.environ.get("NGSHARE_PROXY_DIR") or CACHE / "proxy")
    program = folder / "node_modules" / ".bin" / "configurable-http-proxy"
    require(program.exists(), "configurable-http-proxy", ".ci/get-proxy")
    return program


@pytest.fixture(scope="session")
def nbgrader_programs() -> Path:
    """The folder of the programs that today's students and instructors have."""
    venv = Path(os.environ.get("NGSHARE_NBGRADER_VENV") or CACHE / "nbgrader")
    programs = venv / "bin"
    require(
        (programs / "ngshare-course-management").exists(),
        "a virtual environment with nbgrader and ngshare_exchange",
        ".ci/get-nbgrader",
    )
    return programs


@pytest.fixture(scope="session")
def hub(
    proxy_program: Path, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningHub]:
    """A running JupyterHub with ngshare in it, as one call of configure_hub put it there.

    Two workers, so that whatever one keeps in its own memory is missed in the other.
    """
    folder = tmp_path_factory.mktemp("hub")
    with databases.copy(None, folder) as url:
        hub = RunningHub(folder, proxy_program, args=["--workers", "2"], database=url)
        try:
            hub.start()
            yield hub
        finally:
            hub.stop()
