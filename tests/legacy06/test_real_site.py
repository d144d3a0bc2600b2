"""A site that ngshare 0.6.0 wrote is started, and everything in it is read back over HTTP."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ngshare.db import migrate
from tests.legacy06.conftest import REAL_SITE
from tests.process.site import ADMIN, COMMAND, PATIENCE, Client, Server, Site, Trees

EXPECTED: dict[str, Any] = json.loads((REAL_SITE / "expected.json").read_text())
REAL_FILES = {path.name: path.read_bytes() for path in (REAL_SITE / "files").iterdir()}


def checksums(files: Trees) -> dict[str, str]:
    """The MD5 of the bytes themselves."""
    return {path: hashlib.md5(content).hexdigest() for path, content in files.items()}


def tree(client: Client, *path: str, **query: str) -> dict[str, str]:
    """What a tree is made of, by its bytes; what the service says of it agrees."""
    reply = client.get(*path, **query)
    assert reply.status == 200, reply
    said = {file["path"]: file["checksum"] for file in reply.json["files"]}
    assert said == checksums(reply.files)
    return said


def assert_course(client: Client, name: str, expected: dict[str, Any]) -> None:
    instructors = client.get("instructors", name).json["instructors"]
    assert sorted(one["username"] for one in instructors) == sorted(expected["instructors"])
    students = client.get("students", name).json["students"]
    assert sorted(one["username"] for one in students) == sorted(expected["students"])
    assignments = client.get("assignments", name).json["assignments"]
    assert sorted(assignments) == sorted(expected["assignments"])
    for assignment, released in expected["assignments"].items():
        assert tree(client, "assignment", name, assignment) == released["files"]
        listed = client.get("submissions", name, assignment).json["submissions"]
        assert [(one["student_id"], one["timestamp"]) for one in listed] == sorted(
            ((one["student"], f"{one['timestamp']} UTC") for one in released["submissions"]),
            key=lambda one: one[1],
        )
        for submitted in released["submissions"]:
            student, moment = submitted["student"], submitted["timestamp"]
            # As an administrator must: one of them has left the course.
            removed = {"removed": "true"} if student == expected["removed_student"] else {}
            where = (name, assignment, student)
            for time in (moment, f"{moment} UTC"):
                query = {"timestamp": time, **removed}
                assert tree(client, "submission", *where, **query) == submitted["files"]
                assert tree(client, "feedback", *where, **query) == submitted["feedback"]


def assert_everything(server: Server) -> None:
    """Every entry of ``expected.json``, and nothing besides."""
    with server.client() as ada:
        assert ada.get("courses").json["courses"] == sorted(EXPECTED["courses"])
        for name, expected in EXPECTED["courses"].items():
            assert_course(ada, name, expected)
        for course, assignment in EXPECTED["dropped"]:
            path = ("assignment", course, assignment) if assignment else ("assignments", course)
            assert ada.get(*path).status == 404


def test_everything_is_there(real_site: Site) -> None:
    server = real_site.start()
    assert_everything(server)
    assert server.stop() == 0
    again = real_site.start()
    assert_everything(again)
    assert "up to date" in again.output
    assert "Adopted" not in again.output


def test_assignments_are_in_order_of_release(real_site: Site) -> None:
    with real_site.start().client() as ada:
        assignments = ada.get("assignments", "cs-50").json["assignments"]
    assert assignments == ["ps1", "Übung 2", "final exam"]


def test_names_of_the_roster_are_as_they_were(real_site: Site) -> None:
    with real_site.start().client() as ada:
        assert ada.get("instructor", "Physics 101", "prof0").json == {
            "success": True,
            "username": "prof0",
            "first_name": "Ada",
            "last_name": "Ñandú",
            "email": "a@x.edu",
        }
        shared = ada.get("instructor", "cs-50", "shared-prof").json
        assert shared["first_name"] is shared["last_name"] is shared["email"] is None
        assert ada.get("student", "Physics 101", "s0_1").json["email"] == "s0_1@x"


def test_it_says_what_it_did(real_site: Site) -> None:
    output = real_site.start().output
    assert (
        "Adopted the site of ngshare 0.6: 3 courses, 15 users, 15 memberships, 7 assignments, "
        "32 submissions, 16 with feedback, 133 files, 63 blobs, 12,048 bytes\n"
    ) in output
    assert "Odd: 3 file(s) on disk that belong to nothing. They stay where they are\n" in output
    assert re.search(r"Backup of the database before its upgrade: .*-1921a169739b\n", output)
    report = real_site.database_file.with_name("ngshare.db.adoption-report.txt")
    assert f"All of it, name by name: {report}\n" in output
    assert "All files keep their old names as well." in output
    assert "remove those with: ngshare storage remove-legacy\n" in output
    text = report.read_text()
    for orphan in orphans(real_site):
        assert f"  '{orphan}', 500 bytes\n" in text
    assert "  'Physics 101': 's0_0', 3 submission(s)\n" in text


def orphans(site: Site) -> list[str]:
    """The files that no record of the site names."""
    named = {name for (name,) in _rows(REAL_SITE / "ngshare.db", "SELECT actual_name FROM files")}
    return sorted(REAL_FILES.keys() - named)


def _rows(database: Path, query: str) -> list[Any]:
    with contextlib.closing(
        sqlite3.connect(f"{database.as_uri()}?immutable=1", uri=True)
    ) as connection:
        return connection.execute(query).fetchall()


def test_every_file_keeps_its_old_name(real_site: Site) -> None:
    real_site.start().stop()
    left = {path.name: path.read_bytes() for path in real_site.storage.iterdir() if path.is_file()}
    assert left == REAL_FILES
    blobs = {path.name for path in real_site.storage.glob("blobs/*/*")}
    adopted = REAL_FILES.keys() - set(orphans(real_site))
    assert blobs == {hashlib.sha256(REAL_FILES[name]).hexdigest() for name in adopted}


def test_nothing_is_copied(real_site: Site) -> None:
    inodes = {path.stat().st_ino for path in real_site.storage.iterdir()}
    assert "were copied" not in real_site.start().output
    real_site.servers[-1].stop()
    assert {path.stat().st_ino for path in real_site.storage.glob("blobs/*/*")} <= inodes


def test_work_goes_on(real_site: Site) -> None:
    with real_site.start().client("s0_1") as student:
        moment = student.submit("Physics 101", "ps1", {"p1.ipynb": b"new"}).json["timestamp"]
        assert moment > "2026-11-23 05:01:22.950403 UTC"
    with real_site.servers[-1].client("prof0") as prof:
        assert prof.collect("Physics 101", "ps1", "s0_1", moment) == {"p1.ipynb": b"new"}


def test_the_storage_is_whole(real_site: Site) -> None:
    server = real_site.start()
    for _ in ("while it runs", "afterwards"):
        checked = real_site.run("storage", "check", *real_site.arguments(standalone=False)[:4])
        assert checked.returncode == 0, checked
        server.stop()


def test_the_log_says_that_it_was_adopted(real_site: Site) -> None:
    real_site.start().stop()
    [(actor, detail)] = real_site.rows(
        "SELECT actor, detail FROM audit_log WHERE event = 'site adopted'"
    )
    assert actor == "ngshare"
    assert json.loads(detail)["submissions"] == 32


def test_the_log_tells_of_every_submission_as_of_new_ones(real_site: Site) -> None:
    handed = [
        (f"{one['timestamp']} UTC", one["student"], course, assignment, len(one["files"]))
        for course, expected in EXPECTED["courses"].items()
        for assignment, released in expected["assignments"].items()
        for one in released["submissions"]
    ]
    assert len(handed) == 32
    server = real_site.start()
    with server.client("s0_1") as student:
        new = student.submit("Physics 101", "ps1", {"p1.ipynb": b"new"}).json["timestamp"]
    with server.client(ADMIN) as admin:
        fields = {"event": "submission handed in", "limit": "1000"}
        entries = admin.get("log", order="oldest", **fields).json["entries"]
        # A course's own log has them too, and a deadline is told by it.
        physics = admin.get("log", "Physics 101", student="s0_1", until=new, **fields).json
    *adopted, last = entries
    assert set(adopted[0]) == set(last)
    assert all(one["timestamp"] == one["detail"]["timestamp"] for one in adopted)
    assert all(one["detail"]["adopted"] is True for one in adopted)
    assert sorted(
        (one["timestamp"], one["actor"], one["course"], one["assignment"], one["detail"]["files"])
        for one in adopted
    ) == sorted(handed)
    assert all(one["student"] == one["actor"] for one in entries)
    assert (last["timestamp"], last["detail"]) == (new, {"files": 1, "timestamp": new})
    mine = [one for one in handed if one[1:3] == ("s0_1", "Physics 101")]
    assert len(physics["entries"]) == len(mine) + 1 > 1


def test_did_she_submit_before_the_deadline_of_a_year_ago(real_site: Site) -> None:
    real_site.start().stop()
    submitted = EXPECTED["courses"]["Physics 101"]["assignments"]["ps1"]["submissions"]
    one = next(one for one in submitted if one["student"] == "s0_0")
    settings = real_site.arguments(standalone=False)[:4]
    about = ["--course=Physics 101", "--student=s0_0", "--event=submission handed in"]
    told = real_site.run("log", *settings, *about, "--until", one["timestamp"]).stdout
    assert f"{one['timestamp'][:19]}Z  s0_0  submission handed in  Physics 101/ps1  s0_0" in told
    assert "adopted=true" in told


def test_on_a_terminal_there_is_a_bar(real_site: Site) -> None:
    ours, theirs = os.openpty()
    settings = real_site.arguments(standalone=False)[:4]
    with subprocess.Popen(
        [*COMMAND, "db", "upgrade", *settings],
        cwd=real_site.folder,
        env=real_site.environment,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        said = b""
        with contextlib.suppress(OSError):  # how a terminal ends
            while chunk := os.read(ours, 4096):
                said += chunk
        assert process.wait(PATIENCE) == 0
    os.close(ours)
    assert f"Adopting files [{'#' * 30}] 133 of 133" in said.decode()


def test_through_the_command(real_site: Site) -> None:
    settings = real_site.arguments(standalone=False)[:4]
    done = real_site.run("db", "upgrade", *settings)
    assert done.returncode == 0, done
    assert f"is upgraded from 1921a169739b to {migrate.head()}" in done.stdout
    assert_everything(real_site.start("--no-upgrade-db"))


@pytest.mark.parametrize("before", ["0.6", "older"])
def test_without_upgrade_it_is_refused_and_left_alone(real_site: Site, before: str) -> None:
    if before == "older":
        with real_site.sql() as connection:
            connection.execute("ALTER TABLE files DROP COLUMN size")
            connection.execute("UPDATE alembic_version SET version_num = 'aa00db20c10a'")
            connection.commit()
    database = real_site.database_file.read_bytes()
    line = real_site.refusal(*real_site.arguments(), "--no-upgrade-db")
    assert "ngshare db upgrade with the same --database and --storage" in line
    assert real_site.database_file.read_bytes() == database
    assert {path.name: path.read_bytes() for path in real_site.storage.glob("*.*")} == REAL_FILES
    # With its first bytes unchanged the database is in the journal mode it was in.
    assert not list(real_site.folder.glob("ngshare.db-*"))
    assert_everything(real_site.start())


def test_the_admin_of_the_tests_is_nobody_there() -> None:
    assert ADMIN not in json.dumps(EXPECTED)
