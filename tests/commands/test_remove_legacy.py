"""``ngshare storage remove-legacy``: old names go, and nobody's only copy with them."""

from __future__ import annotations

import shutil

import pytest

from ngshare.blobs import LocalBlobs
from ngshare.commands.formatting import format_size
from ngshare.db import migrate
from ngshare.db.urls import parse_url
from tests.commands.conftest import Run
from tests.databases import only_sqlite
from tests.legacy06.conftest import REAL_SITE
from tests.legacy06.contents import our_contents
from tests.process.site import Site

pytestmark = only_sqlite


@pytest.fixture
def adopted(site: Site) -> Site:
    """An adopted site: 133 of its files are 63 blobs, and 3 belong to nothing."""
    shutil.copyfile(REAL_SITE / "ngshare.db", site.database_file)
    shutil.copytree(REAL_SITE / "files", site.storage, copy_function=shutil.copyfile)
    LocalBlobs(site.storage)  # as at a start
    migrate.upgrade(parse_url(f"sqlite:///{site.database_file}"), site.storage)
    return site


def names(site: Site) -> set[str]:
    """The files right in the storage that are there under a name of ngshare 0.6."""
    return {path.name for path in site.storage.iterdir()} & {
        path.name for path in (REAL_SITE / "files").iterdir()
    }


def room(site: Site) -> int:
    """How many bytes are there under a name of ngshare 0.6 only, but in other blobs too."""
    files = [(site.storage / name).stat() for name in names(site)]
    return sum(file.st_size for file in files if file.st_nlink == 1) - 1500


def test_the_old_names_of_adopted_files(run: Run, adopted: Site) -> None:
    contents, before = our_contents(adopted.database_file, adopted.storage), names(adopted)
    mine = adopted.storage / "notes.txt"
    mine.write_text("an administrator's")
    checked = run("storage", "check").stdout
    assert f"{len(before)} files are there under a name of ngshare 0.6" in checked
    assert "ngshare storage remove-legacy removes them." in checked
    assert "no damage" in checked
    asked = run("storage", "remove-legacy", code=1)
    assert "133 files of ngshare 0.6 are blobs as well" in asked.stdout
    # That of copies of one content, of which one is the blob.
    freed = format_size(room(adopted))
    assert f"That frees {freed}: only" in asked.stdout
    orphans = "3 files (1.5 kB) of ngshare 0.6 belong to nothing, and will be"
    assert f"{orphans} kept, but with --orphans:" in asked.stdout
    assert "needs --yes" in asked.stderr
    assert names(adopted) == before

    assert f"Removed 133 files, {freed} freed." in run("storage", "remove-legacy", "--yes").stdout
    left = names(adopted)
    assert len(left) == 3
    assert all(f"{adopted.storage}/{name} (500 bytes)" in asked.stdout for name in left)
    assert our_contents(adopted.database_file, adopted.storage) == contents
    assert "Nothing to remove." in run("storage", "remove-legacy", "--yes").stdout

    told = run("storage", "remove-legacy", "--orphans", "--yes").stdout
    assert f"{orphans} removed:" in told
    assert "Removed 3 files, 1.5 kB freed." in told
    assert names(adopted) == set()
    assert mine.exists()
    checked = run("storage", "check").stdout
    assert "ngshare 0.6" not in checked
    assert our_contents(adopted.database_file, adopted.storage) == contents


@pytest.mark.parametrize("how", ["missing", "changed"])
def test_the_only_copy_of_what_the_database_names_is_kept(
    run: Run, adopted: Site, how: str
) -> None:
    contents = sorted(adopted.storage.glob("*.*"), key=lambda path: path.stat().st_nlink)
    legacy = contents[-1]
    [blob] = [path for path in adopted.storage.glob("blobs/*/*") if path.samefile(legacy)]
    same = {path.name for path in contents if path.read_bytes() == legacy.read_bytes()}
    blob.unlink()
    if how == "changed":
        blob.write_bytes(b"!" * legacy.stat().st_size)
    told = run("storage", "remove-legacy", "--orphans", "--yes").stdout
    assert f"{len(same)} file" in told
    assert "and the blob is missing or damaged" in told
    assert f"{legacy} (" in told
    assert names(adopted) == same


def test_copies_free_their_room(run: Run, adopted: Site) -> None:
    for blob in adopted.storage.glob("blobs/*/*"):
        content = blob.read_bytes()
        blob.unlink()
        blob.write_bytes(content)
    freed = format_size(sum(path.stat().st_size for path in adopted.storage.glob("*.*")) - 1500)
    told = run("storage", "remove-legacy", "--yes").stdout
    assert f"Removed 133 files, {freed} freed." in told


def test_the_files_of_a_site_that_was_not_adopted(run: Run, site: Site) -> None:
    """With a wrong --database they would all seem to belong to nothing."""
    LocalBlobs(site.storage)
    shutil.copytree(REAL_SITE / "files", site.storage, dirs_exist_ok=True)
    before = names(site)
    told = run("storage", "remove-legacy", "--orphans", "--yes", code=1).stderr
    assert "was not adopted from ngshare 0.6" in told
    assert "Nothing to remove." in run("storage", "remove-legacy", "--yes").stdout
    assert names(site) == before
