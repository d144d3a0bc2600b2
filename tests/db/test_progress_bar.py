"""The progress bar: drawn on a terminal, otherwise lines in the log."""

from __future__ import annotations

import io
import logging

import pytest

from ngshare.db import progress_bar
from ngshare.db.progress_bar import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress_bar, "BAR_SECONDS", 0)
    stream = Terminal()
    with caplog.at_level(logging.INFO, "ngshare"), ProgressBar("Counting", 2, stream) as counting:
        counting.advance()
        counting.advance()
    lines = stream.getvalue().split("\r")
    assert lines[1].startswith("Counting [" + "#" * 15 + "." * 15 + "] 1 of 2")
    assert lines[-1].startswith("Counting [" + "#" * 30 + "] 2 of 2")
    assert lines[-1].endswith("\n")
    assert caplog.messages == []


def test_lines_in_the_log_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress_bar, "LINE_SECONDS", 0)
    stream = io.StringIO()
    with (
        caplog.at_level(logging.INFO, "ngshare"),
        ProgressBar("Counting", 2000, stream) as counting,
    ):
        counting.advance(1500)
    assert caplog.messages == ["Counting: 1,500 of 2,000"]
    assert stream.getvalue() == ""


def test_a_short_job_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ngshare"), ProgressBar("Counting", 2, io.StringIO()) as few:
        few.advance(2)
    assert caplog.messages == []
