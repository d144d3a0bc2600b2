"""``ngshare db backup`` and ``restore``: the site is back, whole, or left alone."""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, select

from alembic import command
from ngshare.actions import assignments, courses, receipts, submissions
from ngshare.admin import copy_blobs, copy_rows
from ngshare.admin.backup_manifest import hash_file, read_manifest
from ngshare.blobs import LocalBlobs, sha256
from ngshare.blobs.local_upload import LocalUpload
from ngshare.db import migrate
from ngshare.db.engine import make_engine
from ngshare.db.models import SigningKey
from ngshare.db.transactions import Database
from ngshare.db.urls import parse_url, show_url
from ngshare.files import file_lock
from tests.commands.conftest import ADMIN, COURSE, IVY, SAM, Run, make_old, stored
from tests.databases import Databases, only_postgresql, only_sqlite
from tests.process.forked import ForkedProcess
from tests.process.site import PATIENCE, Site, Trees, wait_for

CONTENTS = [b"the release", b"the same for all", b"the work of sam", b"the feedback"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the backup is made."""
    return tmp_path / "the backup"


def everything(database: Database) -> dict[str, list[Any]]:
    """All rows, but for what restores themselves leave in the audit log."""

    def read(connection: Connection) -> dict[str, list[Any]]:
        return {
            table.name: [
                tuple(row)
                for row in connection.execute(select(table).order_by(*table.primary_key))
                if "site restored" not in row
            ]
            for table in copy_rows.TABLES
        }

    return database.read(read)


def contents(store: LocalBlobs) -> dict[str, bytes]:
    """Every blob of a store, by name."""
    return {Path(entry.name).name: Path(entry.name).read_bytes() for entry in store.list()}


def wipe(site: Site, databases: Databases, database: Database) -> None:
    """Lose the storage and all records, as a broken disk does."""
    shutil.rmtree(site.storage)
    if databases.kind == "sqlite":
        for path in site.folder.glob("ngshare.db*"):
            path.unlink()
        return

    def drop(connection: Connection) -> None:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")

    database.write(drop)


@pytest.fixture
def reopened(database_url: str) -> Iterator[Callable[[], Database]]:
    """Opens the site's database anew: the file that was open may be gone."""
    opened: list[Database] = []

    def reopen() -> Database:
        opened.append(Database(parse_url(database_url), connections=2))
        return opened[-1]

    yield reopen
    for database in opened:
        database.close()


# There and back


def test_everything_lost_and_back(
    run: Run,
    site: Site,
    databases: Databases,
    database: Database,
    blobs: LocalBlobs,
    course: str,
    folder: Path,
    reopened: Callable[[], Database],
) -> None:
    blobs.put([b"nobody's"])
    before = everything(database)
    told = run("db", "backup", str(folder)).stdout
    assert "holds 4 files and " in told
    assert told.endswith("Copied 4 new files, 54 bytes.\n")
    wipe(site, databases, database)
    database.close()

    told = run("db", "restore", str(folder)).stdout
    assert "If the service runs, restart it now." in told
    assert "aside" not in told
    back = reopened()
    assert everything(back) == before
    assert sorted(contents(blobs).values()) == sorted(CONTENTS)
    assert run("storage", "check").stdout.endswith("Read 4 files, 54 bytes: no damage.\n")
    # And it works: new rows get ids of their own.
    back.write(courses.create_course, ADMIN, "New", [IVY.name])
    back.write(assignments.release_assignment, IVY, COURSE, "ps2", stored(blobs, a=b"new"))
    back.write(submissions.submit, SAM, COURSE, "ps2", stored(blobs, a=b"new"))


def test_the_key_of_receipts_is_restored_and_stays_if_the_backup_has_none(
    run: Run, database: Database, course: str, folder: Path
) -> None:
    run("db", "backup", str(folder))
    database.write(receipts.make_key)
    key = database.read(receipts.get_public_key)
    run("db", "restore", str(folder), "--yes")
    assert database.read(receipts.get_public_key) == key
    run("db", "backup", str(folder))
    database.write(lambda connection: connection.execute(delete(SigningKey)))
    database.write(receipts.make_key)
    run("db", "restore", str(folder), "--yes")
    assert database.read(receipts.get_public_key) == key


@only_sqlite
def test_only_what_is_new_is_copied(
    run: Run, database: Database, blobs: LocalBlobs, course: str, folder: Path
) -> None:
    run("db", "backup", str(folder))
    assert "Copied 0 new files, 0 bytes." in run("db", "backup", str(folder)).stdout
    database.write(submissions.submit, SAM, COURSE, "ps1", stored(blobs, a=b"a second try"))
    before = {path: path.stat().st_ino for path in (folder / "blobs").rglob("*/*")}
    assert "Copied 1 new file, 12 bytes." in run("db", "backup", str(folder)).stdout
    assert (
        before.items()
        <= {path: path.stat().st_ino for path in (folder / "blobs").rglob("*/*")}.items()
    )
    manifest = read_manifest(folder)
    assert manifest.files == 5
    assert [path.name for path in folder.glob("*.db*")] == [manifest.database]


@only_sqlite
def test_a_backup_is_no_link_to_the_site(
    run: Run, blobs: LocalBlobs, course: str, folder: Path
) -> None:
    run("db", "backup", str(folder))
    for path in (folder / "blobs").rglob("*/*"):
        assert path.stat().st_nlink == 1
        assert not path.is_symlink()


@only_sqlite
def test_what_rotted_in_the_backup_is_copied_anew(run: Run, course: str, folder: Path) -> None:
    run("db", "backup", str(folder))
    path = LocalBlobs(folder).path(sha256(b"the feedback"))
    path.write_bytes(b"the feedbacK")
    assert "Copied 0 new files" in run("db", "backup", str(folder)).stdout
    assert "Copied 1 new file" in run("db", "backup", str(folder), "--verify").stdout
    assert path.read_bytes() == b"the feedback"
    path.write_bytes(b"cut")
    assert "Copied 1 new file" in run("db", "backup", str(folder)).stdout


@only_sqlite
def test_damage_at_the_site_does_not_prevent_a_backup(
    run: Run,
    site: Site,
    databases: Databases,
    database: Database,
    blobs: LocalBlobs,
    course: str,
    folder: Path,
) -> None:
    blobs.path(sha256(b"the feedback")).unlink()
    blobs.path(sha256(b"the release")).write_bytes(b"changed")
    told = run("db", "backup", str(folder), code=2).stdout
    assert "holds 2 files and " in told
    assert "2 files of the site are damaged and not in the backup" in told
    wipe(site, databases, database)
    database.close()
    assert "2 files had been damaged" in run("db", "restore", str(folder)).stdout
    assert "2 DAMAGED" in run("storage", "check", code=2).stdout


@only_sqlite
def test_damage_at_the_site_leaves_the_good_copy_in_the_backup(
    run: Run, blobs: LocalBlobs, course: str, folder: Path
) -> None:
    run("db", "backup", str(folder))
    blobs.path(sha256(b"the release")).write_bytes(b"changed")
    run("db", "backup", str(folder))
    # And a restore mends the site.
    run("db", "restore", str(folder), "--yes")
    assert "no damage" in run("storage", "check").stdout


def test_to_the_other_kind_of_database_and_back(
    run: Run,
    site: Site,
    databases: Databases,
    database: Database,
    blobs: LocalBlobs,
    course: str,
    folder: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    if databases.kind == "sqlite":
        cluster = request.getfixturevalue("postgres_cluster")
        other = cluster.url(cluster.create())
    else:
        other = f"sqlite:///{tmp_path / 'other' / 'ngshare.db'}"
    where = ("--database", other, "--storage", str(tmp_path / "other" / "files"))
    before = everything(database)
    run("db", "backup", str(folder))
    run("db", "restore", str(folder), *where)
    assert "no damage" in run("storage", "check", *where).stdout
    moved = Database(parse_url(other))
    try:
        assert everything(moved) == before
        store = LocalBlobs(tmp_path / "other" / "files")
        for _ in range(3):
            moved.write(submissions.submit, SAM, COURSE, "ps1", stored(store, a=b"there"))
        after = everything(moved)
    finally:
        moved.close()

    second = tmp_path / "second backup"
    run("db", "backup", str(second), *where)
    run("db", "restore", str(second), "--yes")
    assert everything(database) == after
    assert "no damage" in run("storage", "check").stdout
    database.write(submissions.submit, SAM, COURSE, "ps1", stored(blobs, a=b"here again"))


def test_a_backup_that_an_older_ngshare_made(
    run: Run,
    database: Database,
    course: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = everything(database)
    run("db", "backup", str(folder))
    scripts = tmp_path / "migrations"
    shutil.copytree(
        migrate.migrations_folder(), scripts, ignore=shutil.ignore_patterns("__pycache__")
    )
    (scripts / "versions" / "f00d_later.py").write_text(
        '"""Later."""\n'
        f"revision = 'f00d'\ndown_revision = {migrate.head()!r}\n\ndef upgrade():\n    pass\n"
    )
    monkeypatch.setattr(migrate, "migrations_folder", lambda: scripts)
    run("db", "upgrade")
    run("db", "restore", str(folder), "--yes")
    assert everything(database) == before
    assert migrate.read_revision(database.url) == "f00d"


# What is refused, before anything is touched


@only_sqlite  # the target has no part in it
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda it: (it / "manifest.json").unlink(), "holds no complete backup"),
        (lambda it: (it / "manifest.json").write_text("{"), "cannot be read"),
        (lambda it: (it / "manifest.json").write_text("[]"), "is not a manifest"),
        (lambda it: (it / "manifest.json").write_text('{"format": 1}'), "is damaged"),
        (lambda it: edit(it, format=2), "is not a manifest that this ngshare understands"),
        (lambda it: edit(it, revision="f00d1e5"), "revision f00d1e5, which this ngshare does not"),
        (lambda it: next(it.glob("*.db")).unlink(), "is missing or has changed"),
        (lambda it: flip(next(it.glob("*.db"))), "is missing or has changed"),
        (lambda it: shutil.rmtree(it / "blobs"), "the backup is incomplete"),
        (lambda it: flip(a_blob(it)), "1 of its files is missing or has changed"),
        (lambda it: a_blob(it).unlink(), "1 of its files is missing or has changed"),
        (lambda it: edit(it, rows={"users": 1}), "not as many as its manifest says"),
    ],
)
def test_a_backup_that_is_damaged(
    run: Run,
    site: Site,
    database: Database,
    blobs: LocalBlobs,
    course: str,
    folder: Path,
    spoil: Callable[[Path], object],
    said: str,
) -> None:
    run("db", "backup", str(folder))
    spoil(folder)
    rows, files = everything(database), contents(blobs)
    refused = run("db", "restore", str(folder), "--yes", code=1).stderr
    assert said in refused
    assert refused.count("\n") == 1
    assert everything(database) == rows
    assert contents(blobs) == files


def edit(folder: Path, **values: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def a_blob(folder: Path) -> Path:
    return LocalBlobs(folder).path(sha256(b"the feedback"))


@only_sqlite
def test_no_backup_in_the_storage_or_among_others_files(
    run: Run, site: Site, course: str, folder: Path
) -> None:
    for inside in (site.storage, site.storage / "x", site.folder):
        refused = run("db", "backup", str(inside), code=1).stderr
        assert "are in each other: name another" in refused
    folder.mkdir()
    (folder / "thesis.tex").touch()
    refused = run("db", "backup", str(folder), code=1).stderr
    assert "holds thesis.tex, which is no part of a backup" in refused
    assert os.listdir(folder) == ["thesis.tex"]


@only_sqlite
def test_one_backup_at_a_time_in_a_folder(run: Run, course: str, folder: Path) -> None:
    run("db", "backup", str(folder))
    with file_lock(folder):
        refused = run("db", "backup", str(folder), code=1).stderr
    assert "another backup is being made in" in refused


@only_sqlite
def test_what_is_in_the_quarantine_is_backed_up_and_restored_from_too(
    run: Run, blobs: LocalBlobs, course: str, folder: Path
) -> None:
    blobs.quarantine(sha256(b"the feedback"), "2026-01-31T18Z")
    assert "Copied 4 new files" in run("db", "backup", str(folder)).stdout
    assert sorted(contents(LocalBlobs(folder)).values()) == sorted(CONTENTS)


@only_sqlite
def test_no_room(run: Run, course: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as full:
        full.setattr(copy_blobs, "SPARE_BYTES", 2**60)
        refused = run("db", "backup", str(folder), code=1).stderr
    assert "MiB more in" in refused
    assert "Copied 4 new files" in run("db", "backup", str(folder)).stdout


# Over a site that is in use


def test_what_was_there_is_put_aside(
    run: Run, database: Database, blobs: LocalBlobs, course: str, folder: Path
) -> None:
    run("db", "backup", str(folder))
    database.write(submissions.submit, SAM, COURSE, "ps1", stored(blobs, a=b"after the backup"))
    later = everything(database)

    refused = run("db", "restore", str(folder), code=1)
    assert "is not empty. All its records will be replaced. They are first put" in refused.stdout
    assert "needs --yes" in refused.stderr
    assert everything(database) == later

    told = run("db", "restore", str(folder), "--yes").stdout
    assert everything(database) != later
    [back] = [
        shlex.split(line.removeprefix("To go back: ngshare db restore "))
        for line in told.splitlines()
        if line.startswith("To go back: ")
    ]
    aside = back[0]
    url = database.url.render_as_string(hide_password=False)
    assert back[1:] in (
        ["--database", show_url(database.url), "--storage", str(blobs.folder)],
        ["--database", "...", "--storage", str(blobs.folder)],
    )
    if "..." in back:
        assert "\nFor ... write the URL of " in told
        back[back.index("...")] = url
    # Its files are kept as long as it is there.
    make_old(blobs, *CONTENTS, b"after the backup")
    swept = run("storage", "gc", "--yes").stdout
    assert "1 file (16 bytes) older than 24 hours is kept for databases that restores" in swept
    assert f"  {aside}/ngshare-" in swept
    assert "Nothing to collect" in swept

    (blobs.folder.parent / "ngshare_config.py").rename(blobs.folder.parent / "away.py")
    told = run("db", "restore", *back, "--yes").stdout  # wherever it is pasted
    assert told.startswith(f"This restores into the database {show_url(database.url)} and the ")
    (blobs.folder.parent / "away.py").rename(blobs.folder.parent / "ngshare_config.py")
    assert everything(database) == later
    assert "no damage" in run("storage", "check").stdout


def test_gc_frees_what_only_a_forgotten_aside_named(
    run: Run, database: Database, blobs: LocalBlobs, course: str, folder: Path
) -> None:
    run("db", "backup", str(folder))
    database.write(submissions.submit, SAM, COURSE, "ps1", stored(blobs, a=b"after the backup"))
    run("db", "restore", str(folder), "--yes")
    make_old(blobs, *CONTENTS, b"after the backup")
    shutil.rmtree(blobs.folder / "aside")
    assert "Moved 1 file, 16 bytes to the quarantine." in run("storage", "gc", "--yes").stdout


@pytest.mark.parametrize("after", [0, 3, 6, 10])
def test_a_restore_that_fails_leaves_the_database_and_can_be_repeated(
    run: Run,
    database: Database,
    blobs: LocalBlobs,
    course: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    run("db", "backup", str(folder))
    before = everything(database)
    database.write(submissions.submit, SAM, COURSE, "ps1", stored(blobs, a=b"after the backup"))
    later = everything(database)
    for content in CONTENTS:
        blobs.path(sha256(content)).unlink()

    calls = [0]

    def failing(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            calls[0] += 1
            if calls[0] > after:
                raise OSError(5, "Input/output error")
            return original(*arguments, **keywords)

        return call

    with monkeypatch.context() as broken:
        broken.setattr(LocalUpload, "add", failing(LocalUpload.add))
        broken.setattr(copy_rows, "insert", failing(copy_rows.insert))
        assert "Input/output error" in run("db", "restore", str(folder), "--yes", code=1).stderr
    assert everything(database) == later
    run("db", "restore", str(folder), "--yes")
    assert everything(database) == before
    assert "no damage" in run("storage", "check").stdout


# Under load


def test_made_under_load_everything_wiped_and_restored(
    site: Site,
    databases: Databases,
    database: Database,
    database_url: str,
    blobs: LocalBlobs,
    course: str,
    folder: Path,
) -> None:
    server = site.start("--database", database_url)
    stop = threading.Event()
    acknowledged: dict[str, tuple[float, Trees]] = {}

    def submit(number: int) -> None:
        with server.client("sam" if number % 2 else "tom") as client:
            while not stop.is_set():
                files = {"own": os.urandom(3000), "shared": b"number %d" % random.randint(0, 9)}
                reply = client.submit(COURSE, "ps1", files)
                assert reply.status == 200, reply
                acknowledged[f"{client.user} {reply.json['timestamp']}"] = time.time(), files

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_for("some submissions", lambda: len(acknowledged) >= 20)
        for _ in range(2):  # the second adds to the first
            begun = time.time()
            result = site.run("db", "backup", str(folder))
            assert result.returncode == 0, result
        enough = len(acknowledged) + 10
        wait_for("more of them after it", lambda: len(acknowledged) >= enough)
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
    server.kill()
    wipe(site, databases, database)
    database.close()

    result = site.run("db", "restore", str(folder))
    assert result.returncode == 0, result
    result = site.run("storage", "check")
    assert result.returncode == 0, result
    server = site.start("--database", database_url)
    with server.client() as ada:
        handed = ada.get("submissions", COURSE, "ps1").json["submissions"]
        back = {f"{one['student_id']} {one['timestamp']}" for one in handed}
        expected = {key for key, (at, _) in acknowledged.items() if at < begun}
        assert expected <= back
        for key in back & acknowledged.keys():
            user, _, moment = key.partition(" ")
            assert ada.collect(COURSE, "ps1", user, moment) == acknowledged[key][1]
    with server.client("sam") as sam:
        assert sam.submit(COURSE, "ps1", {"a": b"it goes on"}).status == 200
    assert server.stop() == 0


def test_killed_at_any_moment(
    site: Site, database: Database, blobs: LocalBlobs, course: str, folder: Path
) -> None:
    many = {f"f{number}": os.urandom(2000) for number in range(300)}
    tree = stored(blobs, **many)
    database.write(submissions.submit, SAM, COURSE, "ps1", tree)
    before = everything(database)

    def killed(*words: str, seconds: float) -> bool:
        with open(os.devnull, "w") as null:
            process = ForkedProcess(
                words,
                folder=site.folder,
                environment=site.environment,
                stdout=null,
                stderr=null,
            )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        return process.wait() != 0

    for round_ in range(3):
        killed("db", "backup", str(folder), seconds=0.1 + 0.15 * round_)
    result = site.run("db", "backup", str(folder))
    assert result.returncode == 0, result
    assert list((folder / "incoming").iterdir()) == []

    database.write(submissions.submit, SAM, COURSE, "ps1", stored(blobs, a=b"after the backup"))
    later = everything(database)
    for file in tree[::2]:
        assert file.sha256 is not None
        blobs.path(file.sha256).unlink()
    for round_ in range(3):
        killed("db", "restore", str(folder), "--yes", seconds=0.1 + 0.15 * round_)
        assert everything(database) in (before, later)
    result = site.run("db", "restore", str(folder), "--yes")
    assert result.returncode == 0, result
    assert everything(database) == before
    result = site.run("storage", "check")
    assert result.returncode == 0, result


def test_a_backup_that_an_older_ngshare_made_is_upgraded(
    run: Run, database: Database, blobs: LocalBlobs, course: str, folder: Path
) -> None:
    database.write(assignments.remove_assignment, IVY, COURSE, "ps1")
    database.write(assignments.release_assignment, IVY, COURSE, "ps1", stored(blobs, a=b"newer"))
    database.write(assignments.remove_assignment, IVY, COURSE, "ps1")
    before = everything(database)
    run("db", "backup", str(folder))
    manifest = read_manifest(folder)
    engine = make_engine(copy_rows.sqlite_url(folder / manifest.database), wal=False, writes=True)
    with engine.begin() as connection:
        command.downgrade(migrate.alembic_config(connection), "7c1f0a52d3e8")
    engine.dispose()
    digest = hash_file(folder / manifest.database)
    assert digest is not None
    del manifest.rows["replaced_trees"]
    edit(folder, revision="7c1f0a52d3e8", sha256=digest.hex(), rows=manifest.rows)
    run("db", "restore", str(folder), "--yes")
    after = everything(database)
    for found in (before, after):  # when a user was first seen, an upgrade finds out in the log
        found["users"] = [row[:2] for row in found["users"]]
    assert after == before


@only_postgresql
def test_the_moved_site_counts_on_from_its_highest_ids(
    run: Run, database: Database, course: str, folder: Path
) -> None:
    run("db", "backup", str(folder))
    run("db", "restore", str(folder), "--yes")

    def next_ids(connection: Connection) -> list[tuple[int, int]]:
        return [
            (
                connection.exec_driver_sql(
                    f"SELECT nextval(pg_get_serial_sequence('{table.name}', 'id'))"
                ).scalar_one(),
                connection.exec_driver_sql(
                    f"SELECT coalesce(max(id), 0) FROM {table.name}"
                ).scalar_one(),
            )
            for table in copy_rows.TABLES
            if "id" in table.c
        ]

    for following, highest in database.write(next_ids):
        assert following == highest + 1


def test_who_reads_meanwhile_sees_what_was_before(
    run: Run, database: Database, blobs: LocalBlobs, course: str, folder: Path
) -> None:
    """Until the end of its transaction, whichever tables it has not come to yet."""
    run("db", "backup", str(folder))
    database.write(submissions.submit, SAM, COURSE, "ps1", stored(blobs, a=b"after the backup"))
    later = everything(database)

    def read(connection: Connection) -> dict[str, int]:
        migrate.current_revision(connection)  # the state is that of the first statement
        run("db", "restore", str(folder), "--yes")
        assert everything(database) != later  # another transaction
        return copy_rows.count_rows(connection)

    assert database.read(read) == {table: len(rows) for table, rows in later.items()}
