"""Root runs a command on somebody else's site: as that user, so that nothing there is root's."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import ngshare
from ngshare.commands import owner
from ngshare.commands.owner import CannotSwitchUser, Owner, find_owner, switch_user
from tests.commands.conftest import Run
from tests.databases import only_sqlite
from tests.process.site import Site
from tests.require import require

NOBODY = 65534
NAMELESS = 54321
"""A user's number that no name belongs to, as in a container."""


@pytest.fixture(params=[NOBODY, NAMELESS], ids=["a user", "a number"])
def theirs(request: pytest.FixtureRequest) -> Iterator[Site]:
    """An empty folder of another user than root, where a site will be."""
    require(os.getuid() == 0, "the right to be another user", "run the tests as root")
    package = Path(ngshare.__file__)
    reachable = all(folder.stat().st_mode & stat.S_IXOTH for folder in package.parents)
    require(reachable, "a checkout that every user can read", "put it in no folder of root's own")
    # pytest's own are root's alone.
    folder = Path(tempfile.mkdtemp(prefix="ngshare-owned-", dir="/tmp"))
    try:
        give(folder, request.param)
        yield Site(folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def backup(run: Run, course: str, theirs: Site) -> Path:
    """A backup of another site, in that folder."""
    folder = theirs.folder / "backup"
    run("db", "backup", str(folder))
    give(folder, theirs.folder.stat().st_uid)
    return folder


def give(folder: Path, uid: int) -> None:
    """Give a folder, with all that is in it, to this user and the group of the same number."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid)


def settings(site: Site) -> list[str]:
    return ["--database", site.database, "--storage", str(site.storage)]


def as_owner(site: Site) -> list[str]:
    """The program as the user whose folder it is, though its Python may be root's."""
    uid = site.folder.stat().st_uid
    become = f"import os; os.setgroups([]); os.setgid({uid}); os.setuid({uid})"
    return [sys.executable, "-c", f"from ngshare.app import main; {become}; main()"]


def strangers(site: Site) -> list[Path]:
    """What in the site's folder is not its owner's."""
    uid = site.folder.stat().st_uid
    return [path for path in site.folder.rglob("*") if path.stat().st_uid != uid]


@only_sqlite
def test_what_root_writes_is_the_owners(theirs: Site, backup: Path) -> None:
    for words in (
        ("db", "restore", str(backup), "--yes"),
        ("storage", "check"),
        ("db", "backup", str(theirs.folder / "second")),
        ("export", "Physics 101", "--output", str(theirs.folder / "physics.zip")),
        ("storage", "gc", "--yes"),
        ("log", "--json", "--event=site restored"),
    ):
        done = theirs.run(*words, *settings(theirs), LOGNAME="root")
        assert done.returncode == 0, done
        assert done.stderr.count(": this runs as that user, not as root.\n") == 1
        assert strangers(theirs) == [], words
    # It was root all the same who did it.
    assert json.loads(done.stdout)["actor"] == "shell:root"
    assert theirs.run("storage", "check", *settings(theirs), command=as_owner(theirs)).stderr == ""


@only_sqlite
def test_what_the_owner_may_not_write_is_said(theirs: Site, backup: Path, tmp_path: Path) -> None:
    theirs.run("db", "restore", str(backup), "--yes", *settings(theirs))
    done = theirs.run("db", "backup", str(tmp_path / "deep" / "backup"), *settings(theirs))
    assert done.returncode == 1
    assert "Permission denied" in done.stderr
    assert "name a place that is that user's" in done.stderr
    assert "Traceback" not in done.stderr


@only_sqlite
def test_a_site_of_roots_stays_as_it_is(site: Site, course: str) -> None:
    require(os.getuid() == 0, "the right to be root", "run the tests as root")
    done = site.run("storage", "check")
    assert (done.returncode, done.stderr) == (0, "")


def test_whose_a_site_is(tmp_path: Path) -> None:
    assert find_owner([tmp_path / "absent"]) is None
    found = find_owner([tmp_path / "absent", tmp_path])
    assert found is not None
    assert found.uid == os.getuid()


def test_where_root_may_become_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(groups: list[int]) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(owner.os, "setgroups", refuse)
    with pytest.raises(
        CannotSwitchUser, match=r"user 54321, .* \(Operation not permitted\): run this"
    ):
        switch_user(Owner(NAMELESS, NAMELESS, str(NAMELESS)))
