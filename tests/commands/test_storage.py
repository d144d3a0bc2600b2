"""``ngshare storage``: damage is found and named, and what nothing names is removed."""

from __future__ import annotations

import io
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, update

from ngshare.actions import assignments, courses, feedback, submissions
from ngshare.blobs import LocalBlobs, sha256
from ngshare.blobs.sweep import kept_still
from ngshare.database import Database
from ngshare.errors import OutOfSpace
from ngshare.models import File
from tests.commands.conftest import ADMIN, COURSE, IVY, SAM, Run, stored
from tests.process.site import Site, files_field, together
from tests.require import require

DAYS = 86400


def make_old(blobs: LocalBlobs, *contents: bytes) -> None:
    """Let these have been put two days ago."""
    moment = time.time() - 2 * DAYS
    for content in contents:
        os.utime(blobs.path(sha256(content)), (moment, moment))


# check


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
    [handed] = database.read(submissions.list_all, IVY, COURSE, "ps1")
    given = (COURSE, "ps1", "sam", handed.moment, stored(blobs, a=b"newer"))
    database.write(feedback.give, IVY, *given)
    database.write(assignments.remove, IVY, COURSE, "ps1")
    database.write(assignments.release, IVY, COURSE, "ps1", stored(blobs, a=b"newer"))
    for content in (b"the feedback", b"the release"):
        blobs.path(sha256(content)).unlink()
    told = run("storage", "check", code=2).stdout
    assert f"assignment ps1, old feedback of sam, handed in {handed.moment}, file" in told
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


# gc


def test_what_nothing_names_is_removed(run: Run, blobs: LocalBlobs, course: str) -> None:
    blobs.put([b"old and nobody's", b"young and nobody's"])
    make_old(blobs, b"old and nobody's", b"the work of sam")
    cut_off = blobs.incoming / "cut-off"
    cut_off.write_bytes(b"half")
    os.utime(cut_off, (0, 0))
    told = run("storage", "gc", "--yes").stdout
    assert "2 files (20 bytes) older than 24 hours are named by nothing in " in told
    assert told.endswith("Removed 2 files, 20 bytes.\n")
    assert not cut_off.exists()
    assert not blobs.path(sha256(b"old and nobody's")).exists()
    assert blobs.read(sha256(b"young and nobody's"))
    assert "no damage" in run("storage", "check").stdout
    assert "Nothing to remove" in run("storage", "gc", "--yes").stdout


@pytest.fixture
def small_storage(site: Site) -> Iterator[Path]:
    """The site's storage on a file system of 2 MiB."""
    folder = Path(site.storage)
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    mounted = os.getuid() == 0 and subprocess.run(command, timeout=60).returncode == 0
    require(mounted, "the right to mount a tmpfs", "run the tests as root of a machine or a VM")
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=60)


def test_a_disk_without_a_free_byte_is_when_it_is_needed(
    run: Run, small_storage: Path, course: str, blobs: LocalBlobs
) -> None:
    blobs.put([b"left by a request"])
    make_old(blobs, b"left by a request")
    with (
        (small_storage / "of-others").open("wb", buffering=0) as others,
        pytest.raises(OSError, match="No space left"),
    ):
        while True:
            others.write(bytes(4096))
    with pytest.raises(OutOfSpace):
        blobs.put([b"more"])
    assert "no damage" in run("storage", "check").stdout
    assert "Removed 1 file, 17 bytes" in run("storage", "gc", "--yes").stdout
    assert not blobs.path(sha256(b"left by a request")).exists()


def test_nobody_is_there_to_be_asked(run: Run, blobs: LocalBlobs, course: str) -> None:
    blobs.put([b"nobody's"])
    make_old(blobs, b"nobody's", b"the work of sam")
    result = run("storage", "gc", code=1)
    assert "1 file (8 bytes) older than 24 hours" in result.stdout
    assert result.stderr == (
        "ngshare: nothing was done: this needs --yes where nobody can be asked\n"
    )
    assert blobs.read(sha256(b"nobody's"))


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("Yes\n", 0), ("\n", 1), ("n\n", 1)])
def test_somebody_at_a_terminal_is_asked(
    run: Run,
    blobs: LocalBlobs,
    course: str,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    blobs.put([b"nobody's"])
    make_old(blobs, b"nobody's", b"the work of sam")
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    told = run("storage", "gc", code=code)
    assert "Remove them for good? [y/N]" in told.stdout
    assert blobs.path(sha256(b"nobody's")).exists() is (code == 1)
    if code:
        assert told.stderr == "ngshare: nothing was done\n"


def test_another_age(run: Run, blobs: LocalBlobs, course: str) -> None:
    blobs.put([b"nobody's"])
    make_old(blobs, b"nobody's", b"the work of sam")
    assert "Nothing to remove" in run("storage", "gc", "--yes", "--hours=72").stdout
    assert "Removed 1 file" in run("storage", "gc", "--yes", "--hours", "1").stdout
    assert "at least 1" in run("storage", "gc", "--yes", "--hours=0", code=1).stderr


def test_the_wrong_database_does_not_empty_the_storage(run: Run, blobs: LocalBlobs) -> None:
    blobs.put([b"of another site"])
    make_old(blobs, b"of another site")
    refused = run("storage", "gc", "--yes", code=1)
    assert "names not one file in" in refused.stderr
    assert "is it the database of these files? If so, add --even-all" in refused.stderr
    assert blobs.read(sha256(b"of another site"))
    assert "Removed 1 file" in run("storage", "gc", "--yes", "--even-all").stdout


def test_not_while_another_command_needs_every_file(
    run: Run, blobs: LocalBlobs, course: str
) -> None:
    with kept_still(blobs, alone=False):
        refused = run("storage", "gc", "--yes", code=1)
        assert "another command works on the storage" in refused.stderr
        run("storage", "check")
    with kept_still(blobs, alone=True):
        run("storage", "check", code=1)


def test_removing_beside_uploads(
    site: Site, run: Run, database_url: str, blobs: LocalBlobs, course: str
) -> None:
    """Content that is old and nobody's is handed in at the very time at which it is removed."""
    rounds, clients = 40, 4
    contents = [b"content %d" % number for number in range(rounds * 5)]
    blobs.put(contents)
    make_old(blobs, *contents, b"the work of sam")
    server = site.start("--database", database_url)
    stop = threading.Event()

    def remove(_: int) -> None:
        while not stop.is_set():
            result = site.run("storage", "gc", "--yes", "--hours=1")
            assert result.returncode == 0, result
            make_old(blobs, b"the work of sam")

    def submit(number: int) -> list[tuple[str, dict[str, bytes]]]:
        order = random.Random(number)
        acknowledged = []
        with server.client("sam") as sam:
            for _ in range(rounds):
                chosen = order.sample(contents, 3)
                files = {f"{index}.txt": content for index, content in enumerate(chosen)}
                reply = sam.post("submission", COURSE, "ps1", files=files_field(files))
                assert reply.status == 200, reply
                acknowledged.append((reply.json["timestamp"], files))
        return acknowledged

    removing = threading.Thread(target=remove, args=(0,))
    removing.start()
    try:
        acknowledged = together(clients, submit)
    finally:
        stop.set()
        removing.join()
    with server.client() as ada:
        for moment, files in (one for many in acknowledged for one in many):
            assert ada.collect(COURSE, "ps1", "sam", moment) == files
    assert "no damage" in run("storage", "check").stdout
    assert server.stop() == 0


# Where there is nothing


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
