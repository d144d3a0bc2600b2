"""A site of ngshare 0.6 of any size, as that release wrote it: to adopt, and to take the time.

    python -m benchmarks.legacy_site FOLDER --submissions 20000

makes ``FOLDER/ngshare.db`` and ``FOLDER/files``. The same numbers make the same site.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sqlite3
import time
import uuid
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

SCHEMA = """
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);
CREATE TABLE users (id TEXT NOT NULL PRIMARY KEY);
CREATE TABLE courses (_id INTEGER NOT NULL PRIMARY KEY, id TEXT, UNIQUE (id));
CREATE TABLE files (_id INTEGER NOT NULL PRIMARY KEY, filename TEXT, checksum TEXT,
    actual_name TEXT, size INTEGER);
CREATE TABLE assignments (_id INTEGER NOT NULL PRIMARY KEY, id TEXT, course_id INTEGER,
    due TIMESTAMP, FOREIGN KEY(course_id) REFERENCES courses (_id));
CREATE TABLE submissions (_id INTEGER NOT NULL PRIMARY KEY, assignment_id INTEGER,
    timestamp TIMESTAMP, student_id TEXT,
    FOREIGN KEY(assignment_id) REFERENCES assignments (_id),
    FOREIGN KEY(student_id) REFERENCES users (id));
"""

ROSTER = """
CREATE TABLE {} (left_id TEXT NOT NULL, right_id TEXT NOT NULL,
    first_name TEXT, last_name TEXT, email TEXT, PRIMARY KEY (left_id, right_id),
    FOREIGN KEY(left_id) REFERENCES users (id), FOREIGN KEY(right_id) REFERENCES courses (id));
"""

OWNED = """
CREATE TABLE {0}_files_assoc_table (left_id TEXT NOT NULL, right_id INTEGER NOT NULL,
    PRIMARY KEY (left_id, right_id), FOREIGN KEY(left_id) REFERENCES {1} (_id),
    FOREIGN KEY(right_id) REFERENCES files (_id));
"""


class LegacySite:
    """Writes records and files as ngshare 0.6 did. Nothing is checked: odd data is welcome."""

    def __init__(self, folder: Path, revision: str = "1921a169739b") -> None:
        self.folder = folder
        self.database = folder / "ngshare.db"
        self.storage = folder / "files"
        self.storage.mkdir(parents=True)
        self.connection = sqlite3.connect(self.database)
        schema = SCHEMA.replace(", size INTEGER", "") if revision == "aa00db20c10a" else SCHEMA
        self.connection.executescript(
            schema
            + "".join(ROSTER.format(f"{role}_assoc_table") for role in ("instructor", "student"))
            + OWNED.format("assignment", "assignments")
            + OWNED.format("submission", "submissions")
            + OWNED.format("feedback", "submissions")
        )
        self.connection.execute("INSERT INTO alembic_version VALUES (?)", [revision])
        self.sized = revision != "aa00db20c10a"
        self._names = random.Random(1921)

    def close(self) -> None:
        """Write everything to the disk."""
        self.connection.commit()
        self.connection.close()

    def insert(self, table: str, **values: object) -> int:
        """One row, with nothing filled in; return its number."""
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        cursor = self.connection.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks})", list(values.values())
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def user(self, *names: str) -> None:
        for name in names:
            self.connection.execute("INSERT OR IGNORE INTO users VALUES (?)", [name])

    def course(self, name: str | None, *instructors: str) -> int:
        number = self.insert("courses", id=name)
        for instructor in instructors:
            self.user(instructor)
            self.insert("instructor_assoc_table", left_id=instructor, right_id=name)
        return number

    def student(self, course: str, name: str) -> None:
        self.user(name)
        self.insert(
            "student_assoc_table",
            left_id=name,
            right_id=course,
            first_name=name.title(),
            last_name="Ñandú",
            email=f"{name}@x.edu",
        )

    def file(self, path: str | None, content: bytes, **other: object) -> int:
        """A file on disk and its record; ``other`` says what is recorded instead."""
        ending = Path(path or "").suffix
        name = str(uuid.UUID(int=self._names.getrandbits(128), version=4)) + ending
        (self.storage / name).write_bytes(content)
        values = {
            "filename": path,
            "checksum": hashlib.md5(content).hexdigest(),
            "actual_name": name,
            "size": len(content),
            **other,
        }
        if not self.sized:
            del values["size"]
        return self.insert("files", **values)

    def own(self, kind: str, owner: object, *files: int) -> None:
        """Say that files belong to an assignment, a submission, or the feedback on one."""
        for file in files:
            self.insert(f"{kind}_files_assoc_table", left_id=str(owner), right_id=file)

    def assignment(self, course: int | None, name: str | None, files: dict[str, bytes]) -> int:
        number = self.insert("assignments", id=name, course_id=course)
        self.own("assignment", number, *(self.file(*file) for file in files.items()))
        return number

    def submission(
        self,
        assignment: int | None,
        student: str | None,
        moment: str | None,
        files: dict[str, bytes],
        feedback: dict[str, bytes] | None = None,
    ) -> int:
        number = self.insert(
            "submissions", assignment_id=assignment, student_id=student, timestamp=moment
        )
        self.own("submission", number, *(self.file(*file) for file in files.items()))
        self.own("feedback", number, *(self.file(*file) for file in (feedback or {}).items()))
        return number


def make(folder: Path, submissions: int, *, kilobytes: float = 10, seed: int = 6) -> LegacySite:
    """A site of courses of 40 students, each with 10 assignments; half of the work has feedback.

    kilobytes: the size of a notebook. A submission is a notebook, the assignment's data and
    an empty file. The connection stays open, so that more can be added.
    """
    site = LegacySite(folder)
    source = random.Random(seed)
    moment = datetime(2024, 9, 1, 8)
    students, assignments, left = 40, 10, submissions
    course = 0
    while left > 0:
        course += 1
        name = f"Physics {course}"
        course_id = site.course(name, f"prof{course}", "shared-prof")
        for student in range(students):
            site.student(name, f"s{course}_{student}")
        for number in range(assignments):
            data = source.randbytes(300)
            assignment = site.assignment(
                course_id, f"ps{number}", {"p1.ipynb": b"{}", "data/données.csv": data}
            )
            for student in range(min(students, left)):
                moment += timedelta(microseconds=source.randrange(1, 10**9))
                work = source.randbytes(int(kilobytes * 500)).hex().encode()
                marks = {"p1.html": b"<p>" + source.randbytes(50).hex().encode()}
                site.submission(
                    assignment,
                    f"s{course}_{student}",
                    f"{moment:%Y-%m-%d %H:%M:%S.%f}",
                    {"p1.ipynb": work, "data/données.csv": data, "empty.txt": b""},
                    marks if student % 2 else None,
                )
            left -= min(students, left)
    site.connection.commit()
    return site


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.legacy_site", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--submissions", type=int, default=20_000)
    parser.add_argument("--kilobytes", type=float, default=10, help="of each notebook")
    chosen = parser.parse_args()
    started = time.monotonic()
    site = make(chosen.folder, chosen.submissions, kilobytes=chosen.kilobytes)
    with closing(site):
        number, size = site.connection.execute("SELECT count(*), sum(size) FROM files").fetchone()
    taken = time.monotonic() - started
    print(
        f"{chosen.folder}: {chosen.submissions:,} submissions, {number:,} files, {size:,} bytes, "
        f"made in {taken:.0f} s"
    )


if __name__ == "__main__":
    main()
