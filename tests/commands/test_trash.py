"""``ngshare trash``: list, restore, purge, and then gc frees the room."""

from __future__ import annotations

import re
from datetime import timedelta

from sqlalchemy import Connection, func, select, update

from ngshare.actions import assignments, courses
from ngshare.actions.audit import now
from ngshare.blobs import LocalBlobs, sha256
from ngshare.db.models import Assignment, AuditEntry, Course, Submission
from ngshare.db.transactions import Database
from tests.commands.conftest import ADMIN, COURSE, IVY, Run, make_old, stored

MOMENT = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC"


def remove_long_ago(database: Database, days: float) -> None:
    """Let everything that is removed have been removed so many days ago."""

    def age(connection: Connection) -> None:
        for table in (Course, Assignment):
            connection.execute(
                update(table)
                .where(table.removed_at.is_not(None))
                .values(removed_at=now() - timedelta(days=days))
            )

    database.write(age)


def test_removed_listed_and_restored(run: Run, database: Database, course: str) -> None:
    assert run("trash", "list").stdout == "There is nothing of that in the trash.\n"
    database.write(assignments.remove_assignment, IVY, COURSE, "ps1")
    line = run("trash", "list").stdout
    found = re.fullmatch(
        rf"(a\d+) +Physics 101: assignment ps1, 1 submission, removed {MOMENT} by ivy\n", line
    )
    assert found, line
    told = run("trash", "restore", found[1]).stdout
    assert told == f"Restored {found[1]}: Physics 101: assignment ps1, 1 submission\n"
    assert database.read(assignments.list_assignments, IVY, COURSE) == ["ps1"]
    refused = run("trash", "restore", found[1], code=1).stderr
    assert refused == f"ngshare: There is no {found[1]} in the trash\n"


def test_a_course_whose_name_is_taken(run: Run, database: Database, course: str) -> None:
    database.write(courses.remove_course, ADMIN, COURSE)
    database.write(courses.create_course, ADMIN, COURSE, [])
    key = run("trash", "list", "--kind=course").stdout.split()[0]
    refused = run("trash", "restore", key, code=1).stderr
    assert "A course Physics 101 exists: give this one another name, with --as NAME" in refused
    told = run("trash", "restore", key, "--as", "Physics 101 (old)").stdout
    assert told.endswith(", as Physics 101 (old)\n")
    assert database.read(assignments.list_assignments, ADMIN, "Physics 101 (old)") == ["ps1"]


def test_only_some(run: Run, database: Database, course: str) -> None:
    database.write(assignments.remove_assignment, IVY, COURSE, "ps1")
    assert run("trash", "list", "--course", COURSE).stdout.startswith("a")
    assert "nothing of that" in run("trash", "list", "--course", "Other").stdout
    assert "nothing of that" in run("trash", "list", "--kind", "feedback").stdout
    assert "any of" in run("trash", "list", "--kind", "nonsense", code=1).stderr


def test_purged_and_its_room_freed(
    run: Run, database: Database, blobs: LocalBlobs, course: str
) -> None:
    database.write(courses.create_course, ADMIN, "Other", [IVY.name])
    database.write(
        assignments.release_assignment, IVY, "Other", "x", stored(blobs, a=b"the same for all")
    )
    database.write(courses.remove_course, ADMIN, COURSE)
    assert run("trash", "purge", "--yes").stdout.startswith("Nothing to purge")
    remove_long_ago(database, 31)
    contents = [b"the release", b"the work of sam", b"the feedback", b"the same for all"]
    make_old(blobs, *contents)
    assert run("storage", "gc", "--yes").stdout.startswith("Nothing to collect")

    refused = run("trash", "purge", code=1)
    assert "This will be deleted for good (removed more than 30 days ago):" in refused.stdout
    assert "course Physics 101, 1 submission, removed" in refused.stdout
    assert "nothing was done: this needs --yes" in refused.stderr
    assert run("trash", "purge", "--yes", "--days=32").stdout.startswith("Nothing to purge")

    told = run("trash", "purge", "--yes").stdout
    assert "Purged 1 course, 1 assignment, 1 submission, 3 members and 3 trees of files." in told
    assert run("trash", "list").stdout.startswith("There is nothing")
    assert database.read(_count) == 0
    actor = database.read(_purger)
    assert actor.startswith("shell:")

    moved = run("storage", "gc", "--yes").stdout
    assert "Moved 3 files, 38 bytes to the quarantine." in moved
    for content in contents:
        if content != b"the same for all":
            assert not blobs.path(sha256(content)).exists()
    assert blobs.read(sha256(b"the same for all"))
    assert "no damage" in run("storage", "check").stdout


def _count(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(Submission)) or 0


def _purger(connection: Connection) -> str:
    found = connection.scalar(select(AuditEntry.actor).where(AuditEntry.event == "course purged"))
    assert found is not None
    return found


def test_the_setting_says_for_how_long(run: Run, database: Database, course: str) -> None:
    database.write(courses.remove_course, ADMIN, COURSE)
    remove_long_ago(database, 8)
    assert run("trash", "purge", "--yes").stdout.startswith("Nothing to purge")
    with open("ngshare_config.py", "a") as file:
        file.write("c.Ngshare.keep_removed_days = 7\n")
    assert "more than 7 days ago" in run("trash", "purge", "--yes").stdout
