"""What is left of an adoption after its commit: never called done while files are missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ngshare import migrate
from ngshare.adoption.names import finished_list, read_names, unfinished_list
from ngshare.blobs import LocalBlobs
from ngshare.database import parse_url
from tests.adoption.test_killed import OURS, VictimWithoutLinks
from tests.process.site import Site


@pytest.fixture
def committed(site: Site) -> VictimWithoutLinks:
    """A site whose adoption was killed after its commit, with every file under its old name."""
    site.folder.rmdir()
    victim = VictimWithoutLinks(site.folder, 20)
    victim.kill("committed", 1)
    assert victim.adopted
    return victim


def complete(victim: VictimWithoutLinks) -> None:
    """The next start, on the right storage."""
    migrate.upgrade(parse_url(f"sqlite:///{victim.database}"), LocalBlobs(victim.storage))
    assert not unfinished_list(victim.database).exists()
    victim.check()
    assert {path.name for path in victim.storage.glob("*.*")} <= OURS


def names(path: Path) -> list[tuple[bytes, str]]:
    return sorted(read_names(path))


@pytest.mark.parametrize("upgrade", [[], ["--no-upgrade-db"]], ids=["upgrade", "no upgrade"])
def test_a_start_on_another_storage_is_refused(
    site: Site, committed: VictimWithoutLinks, upgrade: list[str]
) -> None:
    listed = names(unfinished_list(committed.database))
    elsewhere = site.folder / "not mounted"
    line = site.refusal(*site.arguments(), "--storage", str(elsewhere), *upgrade)
    number = len({digest for digest, _ in listed})
    assert f"{number} of the {number} files that were adopted from ngshare 0.6 are not in" in line
    assert "mount it, or name the right folder with --storage" in line
    assert names(unfinished_list(committed.database)) == listed
    assert not finished_list(committed.database).exists()
    assert not LocalBlobs(elsewhere).belongs_to.exists()
    complete(committed)


def test_most_files_missing_is_the_wrong_storage_too(
    site: Site, committed: VictimWithoutLinks
) -> None:
    """An empty file or two are in every storage."""
    elsewhere = site.folder / "another site's"
    elsewhere.mkdir()
    for name in list(committed.files)[:3]:
        shutil.copy(committed.storage / name, elsewhere)
    assert "mount it" in site.refusal(*site.arguments(), "--storage", str(elsewhere))
    complete(committed)


def test_single_files_that_are_lost_are_waited_for(
    site: Site, committed: VictimWithoutLinks
) -> None:
    listed = names(unfinished_list(committed.database))
    digests = [digest for digest, _ in listed]
    # Not two of the many that are the same for all.
    lost = [one for one in listed if digests.count(one[0]) == 1][:2]
    for _, name in lost:
        (committed.storage / name).rename(site.folder / name)
    # Its start is not prevented, and says so each time.
    for attempt in range(2):
        output = site.start().output
        assert "2 file(s) that were adopted from ngshare 0.6 are not in" in output
        assert lost[0][1] in output
        assert ("Adopted the site of" in output) == (attempt == 0)
        site.servers[-1].stop()
        assert names(unfinished_list(committed.database)) == lost
        done = [one for one in listed if one not in lost]
        assert names(finished_list(committed.database)) == done
    settings = site.arguments(standalone=False)[:4]
    refused = site.run("storage", "gc", "--yes", *settings)
    assert "adoption of this site from ngshare 0.6 is not finished" in refused.stderr
    assert site.run("storage", "check", *settings).returncode == 2

    for _, name in lost:
        (site.folder / name).rename(committed.storage / name)
    assert "not in" not in site.start().output
    assert site.run("storage", "check", *settings).returncode == 0
    assert names(finished_list(committed.database)) == listed
    assert not unfinished_list(committed.database).exists()
    assert site.run("storage", "gc", "--yes", *settings).returncode == 0


def test_what_is_lost_for_good_can_be_given_up(site: Site, committed: VictimWithoutLinks) -> None:
    shutil.rmtree(committed.storage)
    assert "--adopt-without-files if they are lost" in site.refusal(*site.arguments())
    assert site.start("--adopt-without-files").stop() == 0
    assert not unfinished_list(committed.database).exists()
    site.start()


def test_what_was_purged_since_is_not_missed(site: Site, committed: VictimWithoutLinks) -> None:
    [(digest, name), *_] = names(unfinished_list(committed.database))
    (committed.storage / name).unlink()
    site.execute(f"DELETE FROM files WHERE sha256 = x'{digest.hex()}'")
    assert "are not in" not in site.start().output
    assert not unfinished_list(committed.database).exists()


def test_gc_removes_nothing_of_a_site_that_is_not_finished(
    site: Site, committed: VictimWithoutLinks
) -> None:
    for path in committed.storage.glob("*.*"):
        os.utime(path, (0, 0))
    settings = site.arguments(standalone=False)[:4]
    refused = site.run("storage", "gc", "--orphans", "--yes", *settings)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "run ngshare db upgrade, or start the service" in refused.stderr
    committed.check()
    # Nor does it take a name of either list for an orphan's.
    unfinished_list(committed.database).rename(finished_list(committed.database))
    told = site.run("storage", "gc", "--orphans", "--yes", *settings)
    assert "Nothing to remove" in told.stdout
    finished_list(committed.database).rename(unfinished_list(committed.database))
    complete(committed)
