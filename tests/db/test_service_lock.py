"""The lock that services share, and that the replacement of a database takes exclusively."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from pathlib import Path

import pytest

from ngshare.db.service_lock import DatabaseInUse, exclusive_service_lock, shared_service_lock
from ngshare.db.urls import parse_url


def test_services_share_the_lock_and_a_replacement_excludes_them(tmp_path: Path) -> None:
    database = tmp_path / "ngshare.db"
    url = parse_url(f"sqlite:///{database}")
    refusal = f"serves from {database} now: stop it first"
    with (
        shared_service_lock(url),
        shared_service_lock(url),
        pytest.raises(DatabaseInUse, match=refusal),
        exclusive_service_lock(database),
    ):
        raise AssertionError("it is in use")
    with (
        exclusive_service_lock(database),
        pytest.raises(DatabaseInUse),
        exclusive_service_lock(database),
    ):
        raise AssertionError("two hold the exclusive lock")
    assert not database.exists()


def test_a_symbolic_link_names_the_same_lock(tmp_path: Path) -> None:
    database, link = tmp_path / "real" / "ngshare.db", tmp_path / "link.db"
    database.parent.mkdir()
    link.symlink_to(database)
    for served, replaced in ((database, link), (link, database)):
        url = parse_url(f"sqlite:///{served}")
        with (
            shared_service_lock(url),
            pytest.raises(DatabaseInUse),
            exclusive_service_lock(replaced),
        ):
            raise AssertionError("it is in use")


def test_a_forked_worker_keeps_the_lock(tmp_path: Path) -> None:
    database = tmp_path / "ngshare.db"
    ended, end = os.pipe()
    with shared_service_lock(parse_url(f"sqlite:///{database}")):
        worker = os.fork()
        if worker == 0:
            os.close(end)
            os.read(ended, 1)
            os._exit(0)
    try:
        with pytest.raises(DatabaseInUse), exclusive_service_lock(database):
            raise AssertionError("it is in use")
    finally:
        os.close(end)
        os.waitpid(worker, 0)
        os.close(ended)
    with exclusive_service_lock(database):
        pass


def test_postgresql_needs_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with shared_service_lock(parse_url("postgresql://ngshare@db.example.org/ngshare")):
        assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_causes_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    database = tmp_path / "ngshare.db"
    with caplog.at_level(logging.WARNING, "ngshare"):
        with shared_service_lock(parse_url(f"sqlite:///{database}")):
            pass
        with exclusive_service_lock(database):
            pass
    served, reverted = caplog.messages
    assert served.startswith(f"{database}.service-lock cannot be locked (No locks available)")
    assert "stop it before you use that" in served
    assert "it must not" in reverted


def test_a_lock_file_that_cannot_be_opened_causes_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = tmp_path / "ngshare.db"
    database.with_name("ngshare.db.service-lock").symlink_to("/nowhere/lock")
    with shared_service_lock(parse_url(f"sqlite:///{database}")):
        assert "cannot be locked (No such file or directory)" in caplog.text
