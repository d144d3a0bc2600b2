"""Exchanges for the tests of nbgrader's commands: a folder, and ngshare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.exchange.plugin.computers import FolderBackend, ServiceBackend, Site
from tests.exchange.running_service import RunningService, running_service

T = TypeVar("T")
Compare = Callable[[Callable[[Site], Any]], Any]


@pytest.fixture
def running(database_url: str, tmp_path: Path) -> Iterator[RunningService]:
    """A stand-alone service."""
    with running_service(database_url, tmp_path) as service:
        yield service


@pytest.fixture
def site(running: RunningService, tmp_path: Path) -> Site:
    """Users whose exchange is ngshare."""
    return Site(ServiceBackend(running), tmp_path / "ngshare-homes")


@pytest.fixture
def same(site: Site, tmp_path: Path) -> Compare:
    """Run a scenario with nbgrader's folder and with ngshare; both must return the same."""

    def compare(scenario: Callable[[Site], T]) -> T:
        expected = scenario(Site(FolderBackend(tmp_path / "exchange"), tmp_path / "folder-homes"))
        actual = scenario(site)
        assert actual == expected
        return actual

    return compare
