"""``ngshare export``: everything of a course, in an archive that every system can unpack."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, update

from ngshare.actions import assignments, audit_query, courses, feedback, roster, submissions
from ngshare.actions.access import Caller
from ngshare.blobs import LocalBlobs, sha256
from ngshare.db.models import File
from ngshare.db.transactions import Database
from ngshare.protocol.trees import StoredFile
from tests.commands.conftest import ADMIN, COURSE, IVY, Run, stored
from tests.databases import only_sqlite
from tests.process.site import COMMAND, PATIENCE, Site

STAMP = r"20\d\d-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}Z"


def opened(path: Path) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(path)
    assert archive.testzip() is None
    return archive


def index_of(archive: zipfile.ZipFile) -> Any:
    return json.loads(archive.read("index.json"))


def rows_of(archive: zipfile.ZipFile, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(archive.read(name).decode())))


def test_everything_is_in_it(run: Run, site: Site, course: str) -> None:
    told = run("export", COURSE, "--output", "out.zip").stdout
    assert told == "Exported 1 assignment and 1 submission to out.zip: 5 files, 70 bytes.\n"
    path = site.folder / "out.zip"
    assert path.stat().st_mode & 0o777 == 0o600
    with opened(path) as archive:
        index = index_of(archive)
        [submission] = index["submissions"]
        assert re.fullmatch(rf"submitted/ps1/sam/{STAMP}", submission["folder"])
        assert re.fullmatch(rf"feedback/ps1/sam/{STAMP}", submission["feedback"])
        assert set(archive.namelist()) == {
            "released/ps1/ps1.ipynb",
            "released/ps1/shared.csv",
            f"{submission['folder']}/ps1.ipynb",
            f"{submission['folder']}/shared.csv",
            f"{submission['feedback']}/ps1.html",
            "index.json",
            "index.html",
            "roster.csv",
            "assignments.csv",
            "submissions.csv",
            "replaced.csv",
            "files.csv",
            "log.jsonl",
        }
        assert archive.read("released/ps1/ps1.ipynb") == b"the release"
        assert archive.read(f"{submission['folder']}/ps1.ipynb") == b"the work of sam"
        assert archive.read(f"{submission['feedback']}/ps1.html") == b"the feedback"
        assert index["course"] == COURSE
        assert [(one["user"], one["role"]) for one in index["roster"]] == [
            ("ivy", "instructor"),
            ("sam", "student"),
            ("tom", "student"),
        ]
        assert [one["assignment"] for one in index["assignments"]] == ["ps1"]
        assert rows_of(archive, "submissions.csv")[0]["folder"] == submission["folder"]
        files = rows_of(archive, "files.csv")
        assert {row["archived as"] for row in files} < set(archive.namelist())
        assert {row["state"] for row in files} == {"ok"}
        assert {row["sha256"] for row in files} >= {sha256(b"the feedback").hex()}
        events = [json.loads(line)["event"] for line in archive.read("log.jsonl").splitlines()]
        assert events[0] == "course created"
        assert events[-1] == "feedback given"
        page = archive.read("index.html").decode()
        assert f'<a href="{submission["folder"]}/">' in page


def test_what_is_in_the_trash_is_in_it_and_says_so(
    run: Run, site: Site, database: Database, course: str
) -> None:
    database.write(assignments.remove_assignment, IVY, COURSE, "ps1")
    database.write(roster.remove_student, IVY, COURSE, "sam")
    run("export", COURSE, "--output=out.zip")
    with opened(site.folder / "out.zip") as archive:
        index = index_of(archive)
        assert index["assignments"][0]["removed_at"]
        assert [one["user"] for one in index["roster"] if one["removed_at"]] == ["sam"]
        assert archive.read("released/ps1/ps1.ipynb") == b"the release"
        assert len(index["submissions"]) == 1


def test_what_newer_trees_replaced_is_in_it(
    run: Run, site: Site, database: Database, blobs: LocalBlobs, course: str
) -> None:
    [(_, moment, _)] = database.read(submissions.list_submissions, IVY, COURSE, "ps1")
    answer = stored(blobs, ps1__html=b"better feedback")
    database.write(feedback.give_feedback, IVY, COURSE, "ps1", "sam", moment, answer)
    database.write(assignments.remove_assignment, IVY, COURSE, "ps1")
    database.write(
        assignments.release_assignment, IVY, COURSE, "ps1", stored(blobs, ps1__ipynb=b"newer")
    )
    told = run("export", COURSE, "--output=out.zip").stdout
    assert "1 assignment, 1 submission and 2 replaced trees to out.zip: " in told
    with opened(site.folder / "out.zip") as archive:
        index = index_of(archive)
        given, released = index["replaced"]
        at = f"replaced/feedback/ps1/sam/{STAMP}/{STAMP}"
        assert re.fullmatch(at, given["folder"])
        assert given["submitted_at"] == moment
        assert (given["replaced"], given["student"], given["replaced_by"]) == (
            *("feedback", "sam", "ivy"),
        )
        assert re.fullmatch(rf"replaced/released/ps1/{STAMP}", released["folder"])
        assert (released["replaced"], released["assignment"]) == ("release", "ps1")
        assert archive.read(f"{given['folder']}/ps1.html") == b"the feedback"
        assert archive.read(f"{released['folder']}/ps1.ipynb") == b"the release"
        assert archive.read(f"{index['submissions'][0]['feedback']}/ps1.html") == b"better feedback"
        assert archive.read("released/ps1/ps1.ipynb") == b"newer"
        page = archive.read("index.html").decode()
        assert f'<a href="{given["folder"]}/">' in page
        assert "<h2>Releases and feedback that newer ones replaced: 2</h2>" in page
        assert [row["key"] for row in rows_of(archive, "replaced.csv")] == [
            *(given["key"], released["key"]),
        ]


def test_a_course_in_the_trash(run: Run, site: Site, database: Database, course: str) -> None:
    database.write(courses.remove_course, ADMIN, COURSE)
    key = run("trash", "list", "--kind=course").stdout.split()[0]
    refused = run("export", COURSE, code=1).stderr
    assert refused == (f"ngshare: Course not found. It is in the trash, for ngshare export {key}\n")
    # Another one of its name is another one.
    database.write(courses.create_course, ADMIN, COURSE, [])
    run("export", COURSE, "--output=new.zip")
    told = run("export", key).stdout
    [path] = site.folder.glob("Physics 101-20*.zip")
    assert told == f"Exported 1 assignment and 1 submission to {path.name}: 5 files, 70 bytes.\n"
    with opened(path) as archive:
        index = index_of(archive)
        assert index["course"] == COURSE
        assert index["removed_at"].endswith(" UTC")
        assert f"In the trash since {index['removed_at']}." in archive.read("index.html").decode()
        assert archive.read("released/ps1/ps1.ipynb") == b"the release"
        assert b'"course removed"' in archive.read("log.jsonl")
    with opened(site.folder / "new.zip") as archive:
        assert index_of(archive)["removed_at"] is None
        assert index_of(archive)["assignments"] == []
    for absent in ("c999", "a1"):
        assert f"There is no course {absent}: check" in run("export", absent, code=1).stderr


def test_names_of_all_kinds(run: Run, site: Site, database: Database, blobs: LocalBlobs) -> None:
    name = "<b>O'Hara: C++ & more?"
    database.write(courses.create_course, ADMIN, name, ["ivy"])
    for student in ("=SUM(1)", "AUX", "Sam", "sam"):
        database.write(roster.put_student, IVY, name, student, "<script>", '"', "")
    [a, b] = stored(blobs, a=b"lower", b=b"upper")
    tree = [
        type(a)("data: new/a.txt", a.sha256, a.md5, a.size),
        type(b)("data: new/A.TXT", b.sha256, b.md5, b.size),
    ]
    database.write(assignments.release_assignment, IVY, name, "ps:1", tree)
    for student in ("=SUM(1)", "AUX", "Sam", "sam"):
        database.write(submissions.submit, Caller(student), name, "ps:1", tree)
    told = run("export", name).stdout
    [path] = site.folder.glob("_b_O'Hara_ C++ & more_-20*.zip")
    assert path.name in told
    with opened(path) as archive:
        names = archive.namelist()
        assert len({one.casefold() for one in names}) == len(names)
        for one in names:
            assert not set(one) & set('<>:"\\|?*')
            assert not one.startswith("/")
            assert ".." not in one.split("/")
        assert archive.read("released/ps_1/data_ new/a~2.txt") == b"lower"
        assert archive.read("released/ps_1/data_ new/A.TXT") == b"upper"
        found = {one.split("/")[2] for one in names if one.startswith("submitted/")}
        assert found == {"=SUM(1)", "_AUX", "Sam", "sam~2"}
        page = archive.read("index.html").decode()
        assert "<script>" not in page
        assert "&lt;b&gt;O&#x27;Hara" in page
        assert "'=SUM(1)" in {row["user"] for row in rows_of(archive, "roster.csv")}
        assert "=SUM(1)" in {one["user"] for one in index_of(archive)["roster"]}


def test_damage_is_told_and_the_rest_is_in_it(
    run: Run, site: Site, database: Database, blobs: LocalBlobs, course: str
) -> None:
    def lose(connection: Connection) -> None:
        digest = sha256(b"the feedback")
        connection.execute(update(File).where(File.sha256 == digest).values(sha256=None))

    database.write(lose)
    blobs.path(sha256(b"the release")).unlink()
    blobs.path(sha256(b"the work of sam")).write_bytes(b"changed")
    told = run("export", COURSE, "--output=out.zip", code=2).stdout
    assert "2 files are missing or damaged" in told
    assert "1 file had lost its bytes before ngshare 1.0" in told
    with opened(site.folder / "out.zip") as archive:
        states = {row["path"]: row["state"] for row in rows_of(archive, "files.csv")[::-1]}
        assert states == {
            "ps1.ipynb": "missing",
            "shared.csv": "ok",
            "ps1.html": "lost before ngshare 1.0",
        }
        assert "damaged" in {row["state"] for row in rows_of(archive, "files.csv")}
        assert "released/ps1/ps1.ipynb" not in archive.namelist()
        assert archive.read("released/ps1/shared.csv") == b"the same for all"


def test_it_appears_when_it_is_complete(
    run: Run, site: Site, course: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: Connection, course_id: int) -> Any:
        assert (site.folder / "out.zip.part").exists()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("ngshare.admin.export_rows.log_lines", fail)
        refused = run("export", COURSE, "--output=out.zip", code=1).stderr
    assert "No space left on device" in refused
    assert list(site.folder.glob("out.zip*")) == []


def test_an_archive_that_is_there_is_replaced_only_when_told(
    run: Run, site: Site, course: str
) -> None:
    path = site.folder / "out.zip"
    path.write_text("last year's")
    refused = run("export", COURSE, "--output=out.zip", code=1)
    assert refused.stdout == "out.zip exists already.\n"
    assert "this needs --yes" in refused.stderr
    assert path.read_text() == "last year's"
    run("export", COURSE, "--output=out.zip", "--yes")
    opened(path).close()
    assert "is a folder" in run("export", COURSE, f"--output={site.folder}", code=1).stderr


def test_a_course_that_is_not_there(run: Run, site: Site, course: str) -> None:
    refused = run("export", "Physik", code=1).stderr
    assert refused == f"ngshare: There is no course Physik: {audit_query.CHECK_NAME}\n"
    assert list(site.folder.glob("*.zip*")) == []
    assert "it wants COURSE; see ngshare export --help" in run("export", code=1).stderr


def test_to_standard_output(site: Site, course: str) -> None:
    result = subprocess.run(
        [*COMMAND, "export", COURSE, "--output", "-"],
        cwd=site.folder,
        env=site.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
    )
    assert result.returncode == 0, result
    with zipfile.ZipFile(io.BytesIO(result.stdout)) as archive:
        assert archive.testzip() is None
        assert archive.read("released/ps1/ps1.ipynb") == b"the release"
    assert b"Exported 1 assignment" in result.stderr


@only_sqlite
def test_large_files_are_never_in_memory_as_a_whole(
    site: Site, database: Database, blobs: LocalBlobs, course: str
) -> None:
    size, piece = 400 * 2**20, bytes(2**20)
    hashed = hashlib.sha256()
    for _ in range(size // len(piece)):
        hashed.update(piece)
    with blobs.path(hashed.digest()).open("wb") as file:
        file.truncate(size)  # a hole, which takes no room
    tree = [StoredFile("large", hashed.digest(), b"m" * 16, size)]
    database.write(submissions.submit, Caller("tom"), COURSE, "ps1", tree)
    code = (
        "import pathlib, sys\n"
        "from ngshare.app import main\n"
        "try: main(['export', sys.argv[1], '--output=out.zip'])\n"
        "finally: print(pathlib.Path('/proc/self/status').read_text())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, COURSE],
        cwd=site.folder,
        env=site.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert result.returncode == 0, result
    most = re.search(r"VmHWM:\s+(\d+) kB", result.stdout)
    assert most is not None
    # With the interpreter and all libraries, which take about a quarter of it.
    assert int(most[1]) < size / 1024
    with zipfile.ZipFile(site.folder / "out.zip") as archive:
        assert size in {info.file_size for info in archive.infolist()}
