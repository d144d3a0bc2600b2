"""Every test here works with real processes, which end with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.site import Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site that nothing was ever stored at."""
    site = Site(tmp_path)
    yield site
    site.close()
    for server in site.servers:
        assert "Traceback" not in server.output
        assert "Internal error" not in server.output


@pytest.fixture
def migrated_site(site: Site, migrated: Path) -> Site:
    """A site whose database is up to date already."""
    site.database_file.write_bytes(migrated.read_bytes())
    return site
