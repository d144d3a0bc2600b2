"""Every test here works with real processes, which end with it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site that nothing was ever stored at, with the database that nobody has to name: SQLite."""
    yield from watched(Site(tmp_path))


@pytest.fixture
def empty_site(tmp_path: Path, empty_database_url: str) -> Iterator[Site]:
    """A site that nothing was ever stored at, with a database of either kind."""
    yield from watched(Site(tmp_path, empty_database_url))


@pytest.fixture
def migrated_site(tmp_path: Path, database_url: str) -> Iterator[Site]:
    """A site whose database, of either kind, is up to date already."""
    yield from watched(Site(tmp_path, database_url))


@pytest.fixture
def chance() -> random.Random:
    """What decides when and whom a test hits. A test that fails shows the seed of its run;
    with ``NGSHARE_TEST_SEED`` it decides the same again, as far as the machine lets it.
    """
    seed = os.environ.get("NGSHARE_TEST_SEED") or str(random.SystemRandom().getrandbits(32))
    print(f"NGSHARE_TEST_SEED={seed}")
    return random.Random(seed)


def watched(site: Site) -> Iterator[Site]:
    """The site, until its test ends; no server of it may have had an error of its own."""
    yield site
    site.close()
    for server in site.servers:
        assert "Traceback" not in server.output
        assert "Internal error" not in server.output
