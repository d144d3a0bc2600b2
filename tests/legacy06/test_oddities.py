"""What is odd in a site of ngshare 0.6 is kept and reported, never dropped, never fatal."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.legacy_site import LegacySite
from ngshare.actions import assignments, courses, feedback, roster, submissions
from ngshare.actions.access import Caller
from ngshare.blobs import LocalBlobs
from ngshare.db import migrate
from ngshare.db.transactions import Database
from ngshare.db.urls import parse_url
from ngshare.errors import MigrationError
from ngshare.protocol.times import format_time
from tests.process.site import Site

ADA = Caller("ada", admin=True)
MOMENT = "2020-01-01 00:00:00.000000"


class Adopted:
    """A site after its adoption, read through the actions that the API calls."""

    def __init__(self, legacy: LegacySite, *, files_may_be_lost: bool = False) -> None:
        legacy.close()
        self.folder = legacy.folder
        self.url = parse_url(f"sqlite:///{legacy.database}")
        before = _files(legacy.storage)
        migrate.upgrade(self.url, legacy.storage, files_may_be_lost=files_may_be_lost)
        assert _files(legacy.storage) == before  # nothing of 0.6 goes away
        self.blobs = LocalBlobs(legacy.storage)
        self.database = Database(self.url)

    def ask(self, action: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return self.database.read(action, ADA, *arguments, **options)

    def tree(self, files: Any) -> dict[str, bytes | None]:
        """The contents of a tree by path; None for what is missing."""
        return {
            file.path: None if file.sha256 is None else self.blobs.read(file.sha256)
            for file in files
        }

    def released(self, course: str, assignment: str) -> dict[str, bytes | None]:
        return self.tree(self.ask(assignments.fetch_assignment, course, assignment))

    def submitted(self, *where: str, at: str = MOMENT) -> dict[str, bytes | None]:
        moment, files = self.ask(submissions.collect, *where, at, removed=True)
        assert format_time(moment) == f"{at} UTC"
        return self.tree(files)

    def times(self, course: str, assignment: str) -> list[tuple[str, str]]:
        return [
            (one.student, one.timestamp.removesuffix(" UTC"))
            for one in self.ask(submissions.list_submissions, course, assignment)
        ]

    @property
    def report(self) -> str:
        return (self.folder / "ngshare.db.adoption-report.txt").read_text()

    def query(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self.folder / "ngshare.db")) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture
def legacy(tmp_path: Path) -> LegacySite:
    """A course ``c`` of ``ivy`` with the student ``sam`` and the assignment ``a``, number 1."""
    site = LegacySite(tmp_path / "site")
    site.course("c", "ivy")
    site.student("c", "sam")
    site.assignment(1, "a", {"a.ipynb": b"released"})
    return site


@pytest.fixture
def adopt() -> Iterator[Callable[..., Adopted]]:
    """Adopts a site, and closes it when the test is over."""
    adopted: list[Adopted] = []

    def adopt(legacy: LegacySite, **options: Any) -> Adopted:
        adopted.append(Adopted(legacy, **options))
        return adopted[-1]

    yield adopt
    for site in adopted:
        assert site.query("PRAGMA foreign_key_check") == []
        assert site.query("PRAGMA integrity_check") == [("ok",)]
        site.database.close()


Adopt = Callable[..., Adopted]


def _files(storage: Path) -> dict[str, int]:
    """The sizes of the files right in a storage, but for the database, if it is there too."""
    return {
        path.name: path.lstat().st_size
        for path in storage.glob("*")
        if not path.is_dir() and "ngshare.db" not in path.name
    }


def test_nothing_odd(legacy: LegacySite, adopt: Adopt) -> None:
    site = adopt(legacy)
    assert "\nNothing in it was odd\n" in site.report
    assert "Odd: " not in site.report


# Files


def test_a_file_that_is_missing(legacy: LegacySite, adopt: Adopt) -> None:
    number = legacy.submission(1, "sam", MOMENT, {"here.txt": b"here", "gone.txt": b"gone"})
    [(name,)] = legacy.connection.execute(
        "SELECT actual_name FROM files WHERE filename = 'gone.txt'"
    )
    (legacy.storage / name).unlink()
    site = adopt(legacy)
    assert site.submitted("c", "a", "sam") == {"here.txt": b"here", "gone.txt": None}
    [(md5, size)] = site.query("SELECT md5, size FROM files WHERE sha256 IS NULL")
    assert (md5, size) == (hashlib.md5(b"gone").digest(), 4)
    assert "1 file(s) missing on disk" in site.report
    assert f"'c', 'a', 'sam', {MOMENT}: 'gone.txt', in 0.6 '{name}'" in site.report
    assert number == 1


@pytest.mark.parametrize(
    "name", [None, "", "../../etc/passwd", "/etc/passwd", "a\0b", "no/folder", "x" * 300, "."]
)
def test_a_file_whose_place_cannot_be(legacy: LegacySite, adopt: Adopt, name: str | None) -> None:
    (legacy.folder.parent / "etc").mkdir()
    (legacy.folder.parent / "etc" / "passwd").write_text("a secret of this machine")
    file = legacy.file("x.txt", b"x", actual_name=name)
    legacy.own("assignment", 1, file)
    site = adopt(legacy)
    assert site.released("c", "a") == {"a.ipynb": b"released", "x.txt": None}
    assert "1 file(s) missing on disk" in site.report


def test_sizes_that_were_never_filled_in(legacy: LegacySite, adopt: Adopt) -> None:
    legacy.own("assignment", 1, legacy.file("b", b"four", size=None))
    legacy.own("assignment", 1, legacy.file("c", b"three", checksum=None))
    site = adopt(legacy)
    rows = site.query("SELECT path, size, md5 FROM files ORDER BY path")
    assert rows[1:] == [
        ("b", 4, hashlib.md5(b"four").digest()),
        ("c", 5, hashlib.md5(b"three").digest()),
    ]
    assert "2 file(s) whose size or checksum was never filled in" in site.report


def test_the_schema_before_sizes(tmp_path: Path, adopt: Adopt) -> None:
    legacy = LegacySite(tmp_path / "site", "aa00db20c10a")
    legacy.course("c", "ivy")
    legacy.assignment(1, "a", {"a": b"1", "b": b"22"})
    site = adopt(legacy)
    assert site.released("c", "a") == {"a": b"1", "b": b"22"}
    assert site.query("SELECT size FROM files ORDER BY path") == [(1,), (2,)]
    assert site.query("SELECT size FROM trees") == [(3,)]
    [backup] = (tmp_path / "site").glob("ngshare.db.backup-*-aa00db20c10a")
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("SELECT count(*) FROM files").fetchone() == (2,)


def test_bytes_that_are_not_those_that_were_recorded(legacy: LegacySite, adopt: Adopt) -> None:
    legacy.own("assignment", 1, legacy.file("b", b"as it is", checksum="0" * 32, size=77))
    site = adopt(legacy)
    assert site.released("c", "a")["b"] == b"as it is"
    [stored] = [
        file for file in site.ask(assignments.fetch_assignment, "c", "a") if file.path == "b"
    ]
    assert (stored.md5, stored.size) == (hashlib.md5(b"as it is").digest(), 8)
    assert "1 file(s) whose bytes are not those that were recorded" in site.report
    assert f"'c', 'a': 'b': MD5 {'0' * 32}, now {stored.md5.hex()}; 77 bytes, now 8" in site.report


def test_orphan_files_stay(legacy: LegacySite, adopt: Adopt) -> None:
    (legacy.storage / "orphan.txt").write_bytes(b"12345")
    (legacy.storage / "below").mkdir()
    (legacy.storage / "below" / "another").write_bytes(b"")
    site = adopt(legacy)
    assert (legacy.storage / "orphan.txt").read_bytes() == b"12345"
    assert (legacy.storage / "below" / "another").exists()
    assert "2 file(s) on disk that belong to nothing" in site.report
    assert "  'orphan.txt', 5 bytes\n" in site.report
    assert "  'below/another', 0 bytes\n" in site.report


def test_files_of_rows_that_belong_to_nothing_stay(legacy: LegacySite, adopt: Adopt) -> None:
    legacy.file("lonely.txt", b"lonely")
    [(name,)] = legacy.connection.execute(
        "SELECT actual_name FROM files WHERE filename = 'lonely.txt'"
    )
    site = adopt(legacy)
    assert (legacy.storage / name).read_bytes() == b"lonely"
    assert "1 file record(s) that belong to nothing" in site.report
    assert f"'lonely.txt', in 0.6 '{name}'" in site.report


def test_a_link_to_a_bigger_disk(legacy: LegacySite, adopt: Adopt, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"big")
    (legacy.storage / "link").symlink_to(elsewhere)
    legacy.own("assignment", 1, legacy.file("b", b"big", actual_name="link"))
    site = adopt(legacy)
    assert site.released("c", "a")["b"] == b"big"
    assert elsewhere.read_bytes() == b"big"
    assert not site.blobs.path(hashlib.sha256(b"big").digest()).is_symlink()


def test_one_file_that_two_rows_name(legacy: LegacySite, adopt: Adopt) -> None:
    legacy.file("b", b"shared")
    [(name,)] = legacy.connection.execute("SELECT actual_name FROM files WHERE filename = 'b'")
    legacy.own("assignment", 1, legacy.file("c", b"x", actual_name=name, size=6), 2)
    assert adopt(legacy).released("c", "a") == {
        "a.ipynb": b"released",
        "b": b"shared",
        "c": b"shared",
    }


def test_the_wrong_folder(legacy: LegacySite, tmp_path: Path) -> None:
    legacy.close()
    url = parse_url(f"sqlite:///{legacy.database}")
    with pytest.raises(MigrationError, match="name the right folder with --storage") as error:
        migrate.upgrade(url, tmp_path / "another")
    assert str(error.value).startswith("The database cannot be upgraded: not one of the 1 files")
    assert "--adopt-without-files" in str(error.value)
    with closing(sqlite3.connect(legacy.database)) as connection:
        assert connection.execute("SELECT id FROM assignments").fetchall() == [("a",)]


def test_all_files_are_lost_and_the_command_is_told_so(legacy: LegacySite) -> None:
    shutil.rmtree(legacy.storage)
    legacy.storage.mkdir()
    legacy.close()
    site = Site(legacy.folder)
    settings = site.arguments(standalone=False)[:4]
    refused = site.run("db", "upgrade", *settings)
    assert refused.returncode == 1
    assert "add --adopt-without-files if they are lost for good" in refused.stderr
    done = site.run("db", "upgrade", "--adopt-without-files", *settings)
    assert done.returncode == 0, done


def test_all_files_are_lost_for_good(legacy: LegacySite, adopt: Adopt) -> None:
    shutil.rmtree(legacy.storage)
    site = adopt(legacy, files_may_be_lost=True)
    assert site.released("c", "a") == {"a.ipynb": None}


def test_files_that_may_not_be_read(legacy: LegacySite, monkeypatch: pytest.MonkeyPatch) -> None:
    legacy.close()
    real = Path.open

    def open_as_another_user(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.parent == legacy.storage:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", open_as_another_user)
    with pytest.raises(MigrationError, match=r"cannot be read \(Permission denied\): give the"):
        migrate.upgrade(parse_url(f"sqlite:///{legacy.database}"), legacy.storage)


def test_a_file_that_the_disk_fails_to_read(
    legacy: LegacySite, adopt: Adopt, monkeypatch: pytest.MonkeyPatch
) -> None:
    legacy.own("assignment", 1, legacy.file("bad.txt", b"bad"))
    [(name,)] = legacy.connection.execute(
        "SELECT actual_name FROM files WHERE filename = 'bad.txt'"
    )
    real = Path.open

    def failing_disk(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == name:
            raise OSError(5, "Input/output error", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", failing_disk)
    site = adopt(legacy)
    monkeypatch.undo()
    assert site.released("c", "a") == {"a.ipynb": b"released", "bad.txt": None}
    assert f"'{name}': Input/output error" in site.report
    assert (legacy.storage / name).read_bytes() == b"bad"


# File systems


@pytest.mark.parametrize("number", [1, 95, 38], ids=["EPERM", "EOPNOTSUPP", "ENOSYS"])
def test_a_disk_without_hard_links(
    legacy: LegacySite, adopt: Adopt, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    legacy.assignment(1, "b", {"same.ipynb": b"released", "b": b"b"})

    def link(*arguments: Any, **options: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    site = adopt(legacy)
    assert site.released("c", "a") == {"a.ipynb": b"released"}
    assert site.released("c", "b") == {"same.ipynb": b"released", "b": b"b"}
    assert "2 file(s) could not be hard-linked and were copied: their 9 bytes" in site.report
    assert list(legacy.storage.glob("incoming/*")) == []


def test_a_disk_without_hard_links_and_without_room(
    legacy: LegacySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    legacy.close()

    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(arguments[0] if arguments[0] == 28 else 1, "it does not work")

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr(shutil, "copyfileobj", lambda *arguments: fail(28))
    with pytest.raises(MigrationError, match=r"files is full: without hard links, .* room twice"):
        migrate.upgrade(parse_url(f"sqlite:///{legacy.database}"), legacy.storage)
    assert list(legacy.storage.glob("incoming/*")) == []
    with closing(sqlite3.connect(legacy.database)) as connection:
        assert connection.execute("SELECT id FROM assignments").fetchall() == [("a",)]


def test_a_store_on_another_disk(
    legacy: LegacySite, adopt: Adopt, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*arguments: Any, **options: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", link)
    site = adopt(legacy)
    assert site.released("c", "a") == {"a.ipynb": b"released"}
    assert "1 file(s) could not be hard-linked and were copied: their 8 bytes" in site.report


def test_a_database_in_the_storage_folder(tmp_path: Path, adopt: Adopt) -> None:
    legacy = LegacySite(tmp_path / "site")
    legacy.storage.rmdir()
    legacy.storage = legacy.folder
    legacy.course("c", "ivy")
    legacy.assignment(1, "a", {"a": b"1"})
    site = adopt(legacy)
    assert site.released("c", "a") == {"a": b"1"}
    assert "Nothing in it was odd" in site.report


# People


def test_instructor_and_student_of_one_course(legacy: LegacySite, adopt: Adopt) -> None:
    legacy.student("c", "ivy")
    site = adopt(legacy)
    assert site.ask(roster.get_instructor, "c", "ivy").first_name is None
    assert [one.username for one in site.ask(roster.list_students, "c")] == ["sam"]
    assert "1 user(s) both instructor and student" in site.report
    assert "'ivy' as student of 'c', ['Ivy', 'Ñandú', 'ivy@x.edu']" in site.report


def test_instructor_of_one_course_and_student_of_another(legacy: LegacySite, adopt: Adopt) -> None:
    legacy.course("d", "sam")
    site = adopt(legacy)
    assert site.ask(roster.get_instructor, "d", "sam")
    assert site.ask(roster.get_student, "c", "sam")
    assert "Nothing in it was odd" in site.report


def test_work_of_a_removed_student(legacy: LegacySite, adopt: Adopt) -> None:
    legacy.user("lee")
    legacy.submission(1, "lee", MOMENT, {"x": b"x"}, {"marks": b"A"})
    site = adopt(legacy)
    assert site.times("c", "a") == [("lee", MOMENT)]
    assert site.submitted("c", "a", "lee") == {"x": b"x"}
    _, marks = site.ask(feedback.fetch_feedback, "c", "a", "lee", MOMENT, removed=True)
    assert site.tree(marks) == {"marks": b"A"}
    assert "  'c': 'lee', 1 submission(s)\n" in site.report


def test_users_without_a_row(legacy: LegacySite, adopt: Adopt) -> None:
    legacy.submission(1, "ghost", MOMENT, {"x": b"x"})
    legacy.insert("instructor_assoc_table", left_id="boo", right_id="c")
    site = adopt(legacy)
    assert site.submitted("c", "a", "ghost") == {"x": b"x"}
    assert site.ask(roster.get_instructor, "c", "boo")
    assert "2 user(s) named by other records only" in site.report


def test_a_submission_of_nobody(legacy: LegacySite, adopt: Adopt) -> None:
    legacy.submission(1, None, MOMENT, {"x": b"x"})
    legacy.user("unknown")
    site = adopt(legacy)
    assert site.submitted("c", "a", "unknown (2)") == {"x": b"x"}
    assert "user '' is now 'unknown (2)'" in site.report


def test_names_that_no_address_can_hold(legacy: LegacySite, adopt: Adopt) -> None:
    long = "x" * 300
    legacy.course("a/b")
    legacy.course("tab\there")
    legacy.course(long)
    legacy.course("a_b")
    legacy.course("")
    legacy.assignment(2, "x/y", {"x": b"x"})
    legacy.student("a/b", "per/son")
    site = adopt(legacy)
    assert site.ask(courses.list_courses) == sorted(
        ["c", "a_b", "a_b (2)", "tab_here", "x" * 243, "unnamed course"]
    )
    assert site.released("a_b (2)", "x_y") == {"x": b"x"}
    assert [one.username for one in site.ask(roster.list_students, "a_b (2)")] == ["per_son"]
    for line in (
        "course 'a/b' is now 'a_b (2)'",
        "course 'tab\\there' is now 'tab_here'",
        "user 'per/son' is now 'per_son'",
        "'a_b (2)': 'x/y' is now 'x_y'",
    ):
        assert line in site.report


# Assignments and submissions


def test_assignments_of_one_name(legacy: LegacySite, adopt: Adopt) -> None:
    legacy.assignment(1, "a (2)", {"x": b"named so"})
    second = legacy.assignment(1, "a", {"x": b"second"})
    third = legacy.assignment(1, "a", {"x": b"third"})
    legacy.submission(second, "sam", MOMENT, {"work": b"for the second"})
    legacy.submission(third, "sam", MOMENT, {"work": b"for the third"})
    site = adopt(legacy)
    assert site.ask(assignments.list_assignments, "c") == ["a", "a (2)", "a (3)", "a (4)"]
    assert site.released("c", "a") == {"a.ipynb": b"released"}
    assert site.released("c", "a (2)") == {"x": b"named so"}
    assert site.submitted("c", "a (3)", "sam") == {"work": b"for the second"}
    assert site.submitted("c", "a (4)", "sam") == {"work": b"for the third"}
    assert "2 assignment(s) renamed" in site.report
    assert "'c': 'a' is now 'a (3)'" in site.report


def test_an_assignment_without_a_course(legacy: LegacySite, adopt: Adopt) -> None:
    lost = legacy.assignment(77, "lost", {"x": b"x"})
    legacy.assignment(None, "lost too", {"y": b"y"})
    legacy.submission(lost, "sam", MOMENT, {"z": b"z"})
    legacy.submission(555, "sam", MOMENT, {"w": b"w"}, {"marks": b"B"})
    site = adopt(legacy)
    assert site.ask(courses.list_courses) == ["c", "lost and found"]
    assert site.ask(assignments.list_assignments, "lost and found") == [
        "lost",
        "lost too",
        "lost and found",
    ]
    assert site.released("lost and found", "lost") == {"x": b"x"}
    assert site.submitted("lost and found", "lost", "sam") == {"z": b"z"}
    assert site.submitted("lost and found", "lost and found", "sam") == {"w": b"w"}
    assert "2 assignment(s) without a course" in site.report
    assert "1 submission(s) without an assignment" in site.report


def test_two_submissions_at_one_microsecond(legacy: LegacySite, adopt: Adopt) -> None:
    for number, second in enumerate([MOMENT, MOMENT, "2020-01-01 00:00:00.000001", MOMENT]):
        legacy.submission(1, "sam", second, {"n": str(number).encode()})
    legacy.student("c", "sue")
    legacy.submission(1, "sue", MOMENT, {"n": b"sue"})
    site = adopt(legacy)
    stamps = [f"2020-01-01 00:00:00.00000{digit}" for digit in range(4)]
    assert sorted(site.times("c", "a")) == [
        *(("sam", stamp) for stamp in stamps),
        ("sue", MOMENT),
    ]
    assert [site.submitted("c", "a", "sam", at=stamp)["n"] for stamp in stamps] == [
        *(b"0", b"2", b"1", b"3")
    ]
    assert site.submitted("c", "a", "sue") == {"n": b"sue"}
    assert "2 submission(s) of one student at one moment" in site.report


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2020-01-01 00:00:00.123456", "2020-01-01 00:00:00.123456"),
        ("2020-01-01 00:00:00", MOMENT),
        ("2020-01-01T00:00:00.5", "2020-01-01 00:00:00.500000"),
        ("0099-01-01 00:00:00.000000", "0099-01-01 00:00:00.000000"),
    ],
)
def test_times(legacy: LegacySite, adopt: Adopt, written: str, read: str) -> None:
    legacy.submission(1, "sam", written, {"x": b"x"})
    assert adopt(legacy).submitted("c", "a", "sam", at=read) == {"x": b"x"}


@pytest.mark.parametrize("written", [None, "", "yesterday", 1577836800, 1.5])
def test_no_time(legacy: LegacySite, adopt: Adopt, written: Any) -> None:
    legacy.submission(1, "sam", written, {"x": b"x"})
    site = adopt(legacy)
    assert site.submitted("c", "a", "sam", at="1970-01-01 00:00:00.000000") == {"x": b"x"}
    assert "1 submission(s) without a readable time" in site.report


def test_feedback(legacy: LegacySite, adopt: Adopt) -> None:
    legacy.submission(1, "sam", MOMENT, {"x": b"x"}, {"marks.html": b"A", "more/b": b""})
    site = adopt(legacy)
    _, files = site.ask(feedback.fetch_feedback, "c", "a", "sam", MOMENT)
    assert site.tree(files) == {"marks.html": b"A", "more/b": b""}


def test_an_empty_submission(legacy: LegacySite, adopt: Adopt) -> None:
    legacy.submission(1, "sam", MOMENT, {})
    site = adopt(legacy)
    assert site.submitted("c", "a", "sam") == {}
    assert site.query("SELECT feedback_tree_id FROM submissions") == [(None,)]


# Records that point to nothing


def test_what_points_nowhere_is_reported(legacy: LegacySite, adopt: Adopt) -> None:
    legacy.insert("instructor_assoc_table", left_id="ivy", right_id="gone", email="i@x")
    legacy.own("submission", 99, legacy.file("of-99", b"99"))
    legacy.own("assignment", "nonsense", legacy.file("of-nonsense", b"?"))
    legacy.own("feedback", 1, 12345)
    [(name,)] = legacy.connection.execute("SELECT actual_name FROM files WHERE filename = 'of-99'")
    site = adopt(legacy)
    assert "4 record(s) that point to nothing" in site.report
    assert "'ivy' as instructor of 'gone', [None, None, 'i@x']" in site.report
    assert f"('of-99', '{name}') of the submission of 99" in site.report
    assert "of the assignment of nonsense" in site.report
    assert "file number 12345 (None, None) of the feedback of 1" in site.report
    assert (legacy.storage / name).read_bytes() == b"99"


# Paths


def test_paths_that_can_stay_do(legacy: LegacySite, adopt: Adopt) -> None:
    odd = {"back\\slash.txt": b"1", "tab\there": b"2", "ü/ñ.csv": b"3", " ": b"4"}
    legacy.submission(1, "sam", MOMENT, odd)
    site = adopt(legacy)
    assert site.submitted("c", "a", "sam") == odd
    assert "2 path(s) kept that nobody may use for new files" in site.report


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/etc/passwd", "etc/passwd"),
        ("../../x", "__/__/x"),
        ("a//b", "a/b"),
        ("a/./b/", "a/b"),
        ("", "unnamed"),
        (None, "unnamed"),
        ("nul\0.txt", "nul_.txt"),
        ("x" * 300 + ".ipynb", "x" * 237 + ".ipynb"),
        ("/".join(["d" * 200] * 15), "/".join(["d" * 200] * 10)),
    ],
    ids=range(9),
)
def test_paths_that_nobody_could_unpack(
    legacy: LegacySite, adopt: Adopt, old: str | None, new: str
) -> None:
    number = legacy.submission(1, "sam", MOMENT, {})
    legacy.own("submission", number, legacy.file("f", b"x", filename=old))
    site = adopt(legacy)
    assert site.submitted("c", "a", "sam") == {new: b"x"}
    assert "1 path(s) changed that cannot be unpacked as they were" in site.report


def test_one_path_twice_and_a_file_that_is_a_folder(legacy: LegacySite, adopt: Adopt) -> None:
    number = legacy.submission(1, "sam", MOMENT, {})
    for path, content in (
        ("p.ipynb", b"old"),
        ("p.ipynb", b"new"),
        ("data", b"a file"),
        ("data/x.csv", b"in a folder"),
        ("data (2)", b"in the way"),
    ):
        legacy.own("submission", number, legacy.file(path, content))
    site = adopt(legacy)
    assert site.submitted("c", "a", "sam") == {
        "p.ipynb": b"new",
        "p (2).ipynb": b"old",
        "data/x.csv": b"in a folder",
        "data (2)": b"in the way",
        "data (3)": b"a file",
    }
    assert "2 path(s) changed" in site.report


# Everything at once


def test_all_that_is_odd_together(legacy: LegacySite, adopt: Adopt) -> None:
    """No oddity hides another, and the reports of all are in the log's few lines."""
    legacy.student("c", "ivy")
    legacy.assignment(1, "a", {"x": b"x"})
    legacy.assignment(9, "b", {"x": b"x"})
    legacy.submission(1, "lee", MOMENT, {"x": b"x", "/y": b"y"})
    legacy.submission(1, "lee", MOMENT, {"x": b"x"})
    legacy.submission(8, None, None, {"x": b"x"})
    legacy.own("submission", 1, legacy.file("gone", b"", actual_name=str(uuid.uuid4())))
    legacy.own("submission", 1, legacy.file("wrong", b"w", checksum="f" * 32))
    legacy.own("submission", 77, legacy.file("nowhere", b"n"))
    legacy.file("unowned", b"u", size=None)
    site = adopt(legacy)
    summary = site.report.partition("\n\n")[0].splitlines()
    assert len([line for line in summary if line.startswith("Odd: ")]) == 15
    assert site.submitted("c", "a", "lee")["x"] == b"x"
