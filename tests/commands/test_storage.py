"""``ngshare storage check`` finds damaged and missing files, and says whose they are."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, update

from ngshare.actions import assignments, courses, feedback, submissions
from ngshare.blobs import LocalBlobs, sha256
from ngshare.db.models import File
from ngshare.db.transactions import Database
from tests.commands.conftest import ADMIN, COURSE, IVY, SAM, Run, stored
from tests.process.site import Site


def test_a_healthy_site(run: Run, course: str) -> None:
    result = run("storage", "check")
    assert result.stdout == "Read 4 files, 54 bytes: no damage.\n"


def test_an_empty_site(run: Run, blobs: LocalBlobs) -> None:
    assert run("storage", "check").stdout == "Read 0 files, 0 bytes: no damage.\n"


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"the release", "course Physics 101, assignment ps1, release, file ps1.ipynb"),
        (b"the work of sam", "course Physics 101, assignment ps1, submission of sam, handed in 20"),
        (b"the feedback", "course Physics 101, assignment ps1, feedback of sam, handed in 20"),
    ],
)
@pytest.mark.parametrize("how", ["missing", "changed", "cut", "unreadable"])
def test_damage(
    run: Run, blobs: LocalBlobs, course: str, content: bytes, where: str, how: str
) -> None:
    path = blobs.path(sha256(content))
    if how == "missing":
        path.unlink()
    elif how == "changed":
        path.write_bytes(content[:-1] + b"!")
    elif how == "cut":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
        path.mkdir()
    told = run("storage", "check", code=2).stdout
    said = {"missing": "bytes are missing", "unreadable": "cannot be read"}
    assert f"DAMAGED {path}: " in told
    assert said.get(how, "its bytes have changed") in told
    assert where in told
    assert "1 DAMAGED." in told
    assert "Get damaged files back from a backup" in told


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"size": 1}, "a row says it has 1 bytes, it has 15"),
        ({"md5": b"x" * 16}, "a row says another MD5 than its bytes have"),
    ],
)
def test_rows_that_say_something_else(
    run: Run, database: Database, course: str, values: dict[str, object], said: str
) -> None:
    def spoil(connection: Connection) -> None:
        digest = sha256(b"the work of sam")
        connection.execute(update(File).where(File.sha256 == digest).values(**values))

    database.write(spoil)
    told = run("storage", "check", code=2).stdout
    assert said in told
    assert "submission of sam" in told


def test_a_file_that_many_name_is_told_of_once(
    run: Run, blobs: LocalBlobs, database: Database, course: str
) -> None:
    for _ in range(6):
        tree = stored(blobs, shared__csv=b"the same for all")
        database.write(submissions.submit, SAM, COURSE, "ps1", tree)
    blobs.path(sha256(b"the same for all")).unlink()
    told = run("storage", "check", code=2).stdout
    assert told.count("DAMAGED /") == 1
    assert "and 3 more" in told


def test_whose_a_damaged_file_of_a_replaced_tree_is(
    run: Run, blobs: LocalBlobs, database: Database, course: str
) -> None:
    [submission] = database.read(submissions.list_submissions, IVY, COURSE, "ps1")
    given = (COURSE, "ps1", "sam", submission.timestamp, stored(blobs, a=b"newer"))
    database.write(feedback.give_feedback, IVY, *given)
    database.write(assignments.remove_assignment, IVY, COURSE, "ps1")
    database.write(assignments.release_assignment, IVY, COURSE, "ps1", stored(blobs, a=b"newer"))
    for content in (b"the feedback", b"the release"):
        blobs.path(sha256(content)).unlink()
    told = run("storage", "check", code=2).stdout
    assert f"assignment ps1, old feedback of sam, handed in {submission.timestamp}, file" in told
    assert "course Physics 101, assignment ps1, an old release, file" in told


def test_bytes_that_an_old_site_had_lost_are_no_damage(
    run: Run, database: Database, course: str
) -> None:
    def lose(connection: Connection) -> None:
        digest = sha256(b"the work of sam")
        connection.execute(update(File).where(File.sha256 == digest).values(sha256=None))

    database.write(lose)
    told = run("storage", "check").stdout
    assert "1 file had lost its bytes before this site was adopted" in told
    assert "submission of sam" in told
    assert "no damage" in told


def test_unnamed_files_and_strangers_are_no_damage(
    run: Run, blobs: LocalBlobs, course: str
) -> None:
    blobs.put([b"nobody's"])
    stranger = blobs.shard(3) / "notes.txt"
    stranger.write_text("mine")
    told = run("storage", "check").stdout
    assert "1 file (8 bytes) is named by nothing, or not yet" in told
    assert f"is not ngshare's:\n  {stranger}\n" in told
    assert "no damage" in told


def test_an_unnamed_file_that_changed_is_damage(run: Run, blobs: LocalBlobs, course: str) -> None:
    [digest] = blobs.put([b"nobody's"])
    blobs.path(digest).write_bytes(b"changed")
    told = run("storage", "check", code=2).stdout
    assert f"DAMAGED {blobs.path(digest)}: its bytes have changed" in told
    assert "Nothing names it; move it away" in told


def test_what_is_in_the_trash_is_checked_too(run: Run, database: Database, course: str) -> None:
    database.write(courses.remove_course, ADMIN, COURSE)
    assert "Read 4 files, 54 bytes: no damage." in run("storage", "check").stdout
    assert "named by nothing" not in run("storage", "check").stdout


def test_what_is_in_the_quarantine_is_not_lost(run: Run, blobs: LocalBlobs, course: str) -> None:
    blobs.put([b"nobody's"])
    for content in (b"nobody's", b"the work of sam", b"the feedback"):
        assert blobs.quarantine(sha256(content), "2026-01-31T18Z")
    told = run("storage", "check").stdout
    assert "2 files were in the quarantine, though the database names them: moved back" in told
    assert "1 file (8 bytes) is in the quarantine" in told
    assert "Read 4 files, 54 bytes: no damage." in told
    assert "though" not in run("storage", "check").stdout


# Without a site


def test_a_folder_that_is_no_storage(run: Run, site: Site) -> None:
    refused = run("storage", "check", "--storage", str(site.folder / "typo"), code=1).stderr
    assert refused.startswith("ngshare: ")
    assert "typo is not the storage of a site: name it with --storage" in refused
    assert not (site.folder / "typo").exists()


def test_a_database_that_is_not_there(run: Run, site: Site, blobs: LocalBlobs) -> None:
    typo = site.folder / "typo.db"
    refused = run("storage", "gc", "--yes", "--database", f"sqlite:///{typo}", code=1).stderr
    assert f"there is no database {typo}: name the site's with --database" in refused
    assert not typo.exists()
