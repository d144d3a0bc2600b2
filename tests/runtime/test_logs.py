"""Log lines: their formats, and the escaping of messages that would forge a line."""

from __future__ import annotations

import io
import json
import logging
import sys
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngshare.app import Ngshare
from ngshare.runtime.logs import JsonFormatter, PlainFormatter, escape
from ngshare.web.monitoring.log_fields import fields

FORGED = [
    "sam\n[I 2026-11-23 10:00:00.000 ngshare] forged",
    "sam\rforged",
    "sam\x1b[2J\x1b]0;title\x07",
    "sam\x85forged\u2028forged\u2029forged",
    "\u202eforged",
    "sam\x00\x0b\x0c\x7f\x9b",
]


def plain() -> PlainFormatter:
    return PlainFormatter(
        fmt=Ngshare.log_format.default_value, datefmt=Ngshare.log_datefmt.default_value
    )


def record(message: str, *args: object, **more: object) -> logging.LogRecord:
    return logging.getLogger("ngshare").makeRecord(
        "ngshare",
        logging.INFO,
        __file__,
        1,
        message,
        args,
        None,
        **more,  # type: ignore[arg-type]
    )


def raised(text: str) -> logging.LogRecord:
    try:
        raise ValueError(text)
    except ValueError:
        line = record("It broke")
        line.exc_info = sys.exc_info()
        return line


def test_plain_lines_are_those_of_jupyterhub() -> None:
    line = record("%d %s", 200, "Physics 101 Ökonomie")
    line.created = datetime(2026, 11, 23, 10, 4, 5).timestamp()
    line.msecs = 7.0
    assert plain().format(line) == ("[I 2026-11-23 10:04:05.007 ngshare] 200 Physics 101 Ökonomie")


@pytest.mark.parametrize("text", FORGED)
def test_a_plain_line_cannot_be_forged(text: str) -> None:
    shown = plain().format(record("%s did it", text))
    assert shown.isprintable()
    assert "forged" in shown or "\\x" in shown
    assert shown.endswith(f"{escape(text)} did it")


@given(st.text())
def test_every_record_is_one_line(text: str) -> None:
    assert len(escape(text).splitlines()) <= 1
    assert plain().format(record("%s", text)).count("\n") == 0
    assert JsonFormatter().format(record("%s", text)).isprintable()


def test_other_handlers_get_the_record_as_it_was() -> None:
    line = record("%s", "two\nlines")
    plain().format(line)
    assert line.args == ("two\nlines",)


@pytest.mark.parametrize("text", FORGED)
def test_the_lines_of_a_traceback_are_indented(text: str) -> None:
    first, *rest = plain().format(raised(text)).split("\n")
    assert first.endswith("It broke")
    assert len(rest) > 2
    for line in rest:
        assert line.startswith("    ")
        assert line.isprintable()


def test_json_lines_are_objects() -> None:
    line = record("%s did it", "sam\n", extra=fields(user="sam", status=200))
    line.created = datetime(2026, 11, 23, 10, 4, 5, 7000, timezone.utc).timestamp()
    text = JsonFormatter().format(line)
    assert "\n" not in text
    assert json.loads(text) == {
        "time": "2026-11-23T10:04:05.007+00:00",
        "level": "INFO",
        "logger": "ngshare",
        "message": "sam\n did it",
        "user": "sam",
        "status": 200,
    }


def test_a_traceback_is_a_field_of_its_object() -> None:
    text = JsonFormatter().format(raised("two\nlines"))
    assert "\n" not in text
    assert "ValueError: two\nlines" in json.loads(text)["exception"]


def test_values_without_json_form_become_text() -> None:
    line = record("x", extra=fields(thing=io.StringIO))
    assert "StringIO" in json.loads(JsonFormatter().format(line))["thing"]
