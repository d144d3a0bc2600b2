"""Render the index of an exported course: an HTML page for people, CSV tables for spreadsheets."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

_TABLES = (
    ("assignments", "Assignments"),
    ("submissions", "Submissions"),
    ("replaced", "Releases and feedback that newer ones replaced"),
    ("roster", "Roster"),
)
"""The tables of the page in their order, each by its name in the index and its heading."""


def html_lines(index: Mapping[str, Any]) -> Iterator[str]:
    """Yield the index page; ``index`` is the content of ``index.json``."""
    title = html.escape(index["course"])
    removed_at = index["removed_at"]
    state = f"In the trash since {html.escape(removed_at)}. " if removed_at else ""
    yield (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}"
        "td,th{border:1px solid #999;padding:.2em .6em;text-align:left}</style>"
        f"<h1>{title}</h1><p>{state}Exported {html.escape(index['exported'])}. "
        "The same for programs: "
    )
    tables = ("roster", "assignments", "submissions", "replaced", "files")
    files = ("index.json", *(f"{name}.csv" for name in tables), "log.jsonl")
    yield ", ".join(f'<a href="{name}">{name}</a>' for name in files) + ".</p>"
    for name, heading in _TABLES:
        yield f"<h2>{heading}: {len(index[name])}</h2>"
        yield from _table(index[name])


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield an HTML table of rows that have the same keys; nothing when there are none."""
    if not rows:
        return
    headers = "".join(f"<th>{html.escape(key.replace('_', ' '))}</th>" for key in rows[0])
    yield f"<table><tr>{headers}</tr>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{_html_cell(key, row[key])}</td>" for key in row) + "</tr>\n"
    yield "</table>"


def _html_cell(key: str, value: object) -> str:
    """Return the content of a cell; a folder of the archive becomes a link."""
    text = html.escape("" if value is None else str(value))
    if value is not None and key in ("folder", "feedback"):
        return f'<a href="{quote(str(value))}/">{text}</a>'
    return text


def csv_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield rows that have the same keys as CSV, with the keys as the first line."""
    for cells in ([list(rows[0])] if rows else []) + [list(row.values()) for row in rows]:
        line = io.StringIO()
        csv.writer(line).writerow(map(safe_cell, cells))
        yield line.getvalue()


def safe_cell(value: object) -> object:
    """Return a CSV cell that spreadsheets do not evaluate; index.json has the exact value."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
