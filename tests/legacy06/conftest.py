"""Sites of ngshare 0.6, and what they hold, read without anything of ours."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.site import Site

REAL_SITE = Path(__file__).parent / "legacy-0.6"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A folder for a site; nothing is in it yet."""
    folder = tmp_path / "site"
    folder.mkdir()
    site = Site(folder)
    yield site
    site.close()
    for server in site.servers:
        assert "Traceback" not in server.output
        assert "Internal error" not in server.output


@pytest.fixture
def real_site(site: Site) -> Site:
    """A copy of a site that ngshare 0.6.0 itself wrote."""
    shutil.copytree(REAL_SITE, site.folder, copy_function=shutil.copyfile, dirs_exist_ok=True)
    return site
