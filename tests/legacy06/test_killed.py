"""Killed at any moment, a site is 0.6's as before or ours, and the next start completes."""

from __future__ import annotations

import hashlib
import math
import os
import random
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from benchmarks import legacy_site
from ngshare.db import migrate
from ngshare.db.urls import parse_url
from tests.legacy06.contents import Contents, dump, legacy_contents, our_contents, revision
from tests.legacy06.killed_service import BEGUN, OVER, Killed, copy_site, kill_service
from tests.process.forked import ForkedProcess, run_forked
from tests.process.site import PATIENCE, Site, wait_for

ROOT = Path(__file__).parents[2]
SUBMISSIONS = int(os.environ.get("NGSHARE_LEGACY_SUBMISSIONS", "400"))
"""Of the site that is killed at random moments; docs/upgrade.md says how long 20,000 take."""

OURS: set[str] = set()
"""Files of a storage that are no work of anybody's."""


class Victim:
    """A site of ngshare 0.6, and what it must hold for ever."""

    def __init__(self, folder: Path, submissions: int) -> None:
        legacy = legacy_site.make(folder, submissions, kilobytes=1)
        legacy.close()
        self.folder = folder
        self.database, self.storage = legacy.database, legacy.storage
        self.dump = dump(self.database)
        self.contents: Contents = legacy_contents(self.database, self.storage)
        self.files = {path.name: path.stat().st_size for path in self.storage.iterdir()}

    links = True
    """Whether its file system has hard links."""

    def kill(self, where: str, number: int) -> None:
        """Start an adoption that is killed there; whatever was left is a site."""
        ended = run_forked(
            [str(self.folder), where, str(number), *([] if self.links else ["no-links"])],
            module="tests.legacy06.killed",
            folder=ROOT,
            environment=os.environ,
            timeout=PATIENCE,
        )
        assert ended.returncode in (0, -signal.SIGKILL), ended
        self.reached = ended.returncode != 0
        self.check()

    @property
    def adopted(self) -> bool:
        return revision(self.database) == migrate.head()

    def check(self) -> None:
        """It is 0.6's, with every record, or ours, with every byte; every file of 0.6 is there."""
        if self.adopted:
            assert our_contents(self.database, self.storage) == self.contents
        else:
            assert revision(self.database) == "1921a169739b"
            assert dump(self.database) == self.dump
            assert legacy_contents(self.database, self.storage) == self.contents
        files = [path for path in self.storage.iterdir() if path.is_file()]
        assert {path.name: path.stat().st_size for path in files if path.name not in OURS} == (
            self.files
        )

    def complete(self) -> float:
        """The next start. Return how many seconds it took to adopt the site."""
        url = parse_url(f"sqlite:///{self.database}")
        started = time.monotonic()
        migrate.upgrade(url, self.storage)
        taken = time.monotonic() - started
        assert self.adopted
        self.check()
        left = sorted(re.sub(r"backup-.*", "backup", path.name) for path in self.folder.iterdir())
        if "ngshare.db.service-lock" in left:  # where it was a service that was killed
            left.remove("ngshare.db.service-lock")
        assert left == [
            "files",
            "ngshare.db",
            "ngshare.db.adoption-report.txt",
            "ngshare.db.backup",
            "ngshare.db.upgrade-lock",
        ]
        report = self.folder / "ngshare.db.adoption-report.txt"
        assert "Nothing in it was odd" in report.read_text()
        return taken


class VictimWithoutLinks(Victim):
    """One whose files are copied."""

    links = False


@pytest.fixture
def victim(tmp_path: Path) -> Victim:
    """A small site."""
    return Victim(tmp_path / "site", 60)


def test_at_any_statement(victim: Victim) -> None:
    # Its few hundred records take a few hundred statements, then it is over.
    reached = 0
    for number in sorted(random.sample(range(1, 900), 12)):
        victim.kill("statement", number)
        reached += victim.reached
    assert reached >= 3
    victim.complete()


def test_while_files_are_hashed(victim: Victim) -> None:
    for number in (1, 20, 20, 20):
        victim.kill("link", number)
        assert not victim.adopted
    victim.complete()


def test_just_before_the_commit(victim: Victim) -> None:
    victim.kill("commit", 1)
    assert victim.reached
    victim.complete()


def test_just_after_the_commit(victim: Victim) -> None:
    victim.kill("committed", 1)
    assert victim.reached
    assert victim.adopted
    victim.complete()


def test_without_hard_links_at_random_moments(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"random.Random({seed})")  # a failure shows it
    chance = random.Random(seed)
    victim = VictimWithoutLinks(tmp_path / "site", 60)
    for _ in range(4):
        victim.kill("rename", chance.randint(2, 40))  # the first is that of the backup
        assert victim.reached
        assert not victim.adopted
    victim.kill("statement", chance.randint(1, 600))
    victim.kill("commit", 1)
    victim.kill("committed", 1)
    assert victim.adopted
    victim.complete()
    # What was copied by half may lie about, to be cleaned up as that of any interrupted upload.
    assert len(list(victim.storage.glob("incoming/*"))) <= 4 * 16


def test_interrupted_at_the_keyboard(site: Site) -> None:
    victim = Victim(site.folder / "site", 400)
    log = site.folder / "interrupted"
    with log.open("w") as output:
        process = ForkedProcess(
            [
                *("--vngshare", "--port=0"),
                *("--database", f"sqlite:///{victim.database}"),
                *("--storage", str(victim.storage)),
            ],
            folder=site.folder,
            environment=site.environment,
            stdout=output,
            stderr=output,
        )
        wait_for("the backup", lambda: "Backup of the database" in log.read_text())
        process.send_signal(signal.SIGINT)
        code = process.wait(PATIENCE)
    said = log.read_text()
    assert "Traceback" not in said
    if "listens on" not in said:
        assert code == 1
        assert said.endswith("ngshare: interrupted; it can be started again\n")
    victim.check()
    victim.complete()


def test_a_service_killed_at_random_moments(site: Site) -> None:
    seed = random.randrange(1 << 32)
    print(f"random.Random({seed})")  # a failure shows it
    chance = random.Random(seed)
    # How long an adoption takes here and now, a like site shows.
    legacy_site.make(site.folder / "alike", SUBMISSIONS, kilobytes=1).close()
    alike = kill_service(site.folder / "alike", site.folder / "log-alike", math.inf)
    print(f"{SUBMISSIONS:,} submissions: a like site was adopted in {alike.adopting:.2f} s")
    victim = Victim(site.folder / "site", SUBMISSIONS)
    for number in range(1, 6):
        print(f"Kill {number}")
        killed = kill_adoption(victim, site.folder / f"log{number}", alike.adopting, chance)
        assert BEGUN in killed.said
        assert not victim.adopted
        assert not any(word in killed.said for word in OVER)
    print(f"The last start took {victim.complete():.2f} s")
    settings = (f"--database=sqlite:///{victim.database}", f"--storage={victim.storage}")
    checked = site.run("storage", "check", *settings)
    assert checked.returncode == 0, checked
    handed_in: dict[tuple[str, ...], dict[str, str]] = {}
    for key, md5 in victim.contents.items():
        if key[0] == "submission":
            handed_in.setdefault(key[1:5], {})[key[5]] = md5
    assert len(handed_in) == SUBMISSIONS
    server = site.start(*settings)
    with server.client() as ada:
        for (course, assignment, student, moment), tree in handed_in.items():
            files = ada.collect(course, assignment, student, f"{moment} UTC")
            assert {path: hashlib.md5(each).hexdigest() for path, each in files.items()} == tree
    print(f"{checked.stdout.rstrip()}\nEach of {len(handed_in):,} submissions was read over HTTP")


def kill_adoption(victim: Victim, log: Path, longest: float, chance: random.Random) -> Killed:
    """Kill a start while it adopts, at a random moment of what may take so many seconds.

    A start that was done by then is undone, and killed at an earlier moment.
    """
    before = victim.folder.with_name("before")
    copy_site(victim.folder, before)
    for _ in range(20):
        killed = kill_service(victim.folder, log, chance.uniform(0, longest))
        print(f"{killed} ({'' if victim.adopted else 'not '}committed)")
        victim.check()
        if not killed.too_late:
            shutil.rmtree(before)
            return killed
        longest = min(longest, killed.adopting)
        shutil.rmtree(victim.folder)
        copy_site(before, victim.folder)
    raise AssertionError(f"20 starts were done too soon: {killed}")
