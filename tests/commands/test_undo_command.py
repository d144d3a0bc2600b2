"""The undo command that a command prints acts on the same site in whatever folder it is run."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from ngshare.app import DATABASE_VARIABLE, DEFAULT_DATABASE
from ngshare.commands.base import Command
from ngshare.db.urls import parse_url
from tests.commands.conftest import forget_applications


def undo_command(
    capsys: pytest.CaptureFixture[str], path: str = "/aside/x", **settings: str
) -> tuple[list[str], str]:
    """Return the arguments of the printed undo command, and the note that follows it."""
    forget_applications()
    command = Command(**settings)
    command.print_undo_command("To go back:", "ngshare db restore", Path(path))
    line, _, note = capsys.readouterr().out.partition("\n")
    return shlex.split(line.removeprefix("To go back: ngshare db restore ")), note


def test_of_the_usual_site(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    assert undo_command(capsys) == (["/aside/x"], "")
    # Somewhere else this variable may be another, or none.
    monkeypatch.setenv(DATABASE_VARIABLE, DEFAULT_DATABASE)
    assert undo_command(capsys)[0][1:3] == ["--database", DEFAULT_DATABASE]


def test_paths_are_whole_and_quoted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    words, note = undo_command(capsys, "a b", database="sqlite:///it's.db", storage="my files")
    assert (words[0], words[1]) == (f"{tmp_path}/a b", "--database")
    assert parse_url(words[2]).database == f"{tmp_path}/it's.db"
    assert words[3:] == ["--storage", f"{tmp_path}/my files"]
    assert note == ""


@pytest.mark.parametrize("url", ["postgresql://u:secret@h/n", "postgresql://u@h/n?password=secret"])
def test_no_password_is_shown(capsys: pytest.CaptureFixture[str], url: str) -> None:
    words, note = undo_command(capsys, database=url, storage="/files")
    # Pasted as it is it does nothing: "..." is no database.
    assert words == ["/aside/x", "--database", "...", "--storage", "/files"]
    assert "secret in it" in note
    assert "u@h/n" in note or "u:***@h/n" in note
    assert DATABASE_VARIABLE in note
    assert "secret" not in note.replace("what is secret in it", "")


def test_a_url_without_secrets_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    words, note = undo_command(capsys, database="postgresql://u@h/n", storage="/files")
    assert words[1:3] == ["--database", "postgresql+psycopg://u@h/n"]
    assert note == ""
