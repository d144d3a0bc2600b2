"""A class to measure with: people, and files that look like theirs. The same in every run."""

from __future__ import annotations

import base64
import json
import random
import re
from typing import Any
from urllib.parse import quote_plus

COURSE = "physics101"
ADMIN = "root"
TEACHER = "kevin"
NOTEBOOK_BYTES = 60_000
DATA_BYTES = 200_000
FEEDBACK_BYTES = 90_000

Files = list[tuple[str, bytes]]
"""A directory tree: paths and contents."""

LINE = 57
"""How many bytes one line of ``base64.encodebytes`` holds."""
SERIAL = 6
"""How many bytes of each file differ from request to request."""

PHRASES = [
    "the velocity of a falling body grows with time",
    "until drag and weight are equal",
    "plot the measured heights against the fitted curve",
    "explain the residuals in your own words",
    "which of these assumptions does not hold here",
    "compare with the table above",
]


def students(count: int) -> list[str]:
    """Names of students."""
    return [f"student{number:05d}" for number in range(count)]


def person(name: str) -> dict[str, str]:
    """A student as a roster names them."""
    return {
        "username": name,
        "first_name": "Some",
        "last_name": name.title(),
        "email": f"{name}@university.edu",
    }


def notebook(seed: str, size: int = NOTEBOOK_BYTES) -> bytes:
    """A notebook of about ``size`` bytes with text, code, printed tables and one figure."""
    source = random.Random(f"notebook {seed}")
    cells: list[dict[str, Any]] = []
    used = 0
    while used < size * 0.55:
        number = len(cells)
        if number % 3 == 0:
            cell: dict[str, Any] = {"cell_type": "markdown", "source": _prose(source)}
        else:
            cell = {
                "cell_type": "code",
                "execution_count": number,
                "outputs": [_printed(source)] if number % 3 == 2 else [],
                "source": _code(source, number),
            }
        cell |= {"id": f"{source.getrandbits(32):08x}", "metadata": _marks(number)}
        cells.append(cell)
        used += len(json.dumps(cell, indent=1))
    picture = base64.b64encode(source.randbytes(max(1, int((size - used) * 0.73)))).decode()
    cells.append(
        {
            "cell_type": "code",
            "execution_count": len(cells),
            "id": "figure",
            "metadata": {},
            "outputs": [
                {"data": {"image/png": picture}, "metadata": {}, "output_type": "display_data"}
            ],
            "source": ["plt.plot(time, height, '.')\n", "plt.show()"],
        }
    )
    whole = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python", "version": "3.11.2"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1).encode()


def data(seed: str, size: int = DATA_BYTES) -> bytes:
    """A CSV file of exactly ``size`` bytes: rows of measurements."""
    source = random.Random(f"data {seed}")
    lines = ["run,time,height,velocity,error"]
    length = 0
    while length < size:
        lines.append(
            f"{len(lines)},{len(lines) * 0.01:.2f},{source.gauss(10, 3):.6f},"
            f"{source.gauss(0, 5):.6f},{source.random():.6f}"
        )
        length += len(lines[-1]) + 1
    return "\n".join(lines).encode()[:size]


def page(seed: str, size: int = FEEDBACK_BYTES) -> bytes:
    """A page of feedback of about ``size`` bytes."""
    source = random.Random(f"page {seed}")
    parts = ["<!DOCTYPE html><html><head><title>Feedback</title></head><body>"]
    length = 0
    while length < size:
        score = f"{source.random() * 10:.6f}"
        parts.append(f"<div class='cell'><p>{''.join(_prose(source))}</p><b>{score}</b></div>")
        length += len(parts[-1]) + 1
    return "\n".join([*parts, "</body></html>"]).encode()


def assignment(seed: str) -> Files:
    """A tree of two 60 kB notebooks and 200 kB of data."""
    return [
        ("problem1.ipynb", notebook(f"{seed} 1")),
        ("problem2.ipynb", notebook(f"{seed} 2")),
        ("data/measurements.csv", data(seed)),
    ]


def feedback(seed: str) -> Files:
    """What an instructor gives back: a page for each notebook."""
    return [(f"problem{number}.html", page(f"{seed} {number}")) for number in (1, 2)]


def encode_tree(files: Files) -> str:
    """The ``files`` field of a request, as today's plugin writes it."""
    return json.dumps(
        [{"path": path, "content": base64.encodebytes(content).decode()} for path, content in files]
    )


def encode_form(fields: dict[str, str]) -> bytes:
    """A URL-encoded form."""
    return "&".join(f"{name}={quote_plus(value)}" for name, value in fields.items()).encode()


def number_files(files: Files) -> tuple[Files, list[bytes]]:
    """The same files with a mark of no text in each, and how each mark looks when encoded.

    Whoever sends them puts a serial number in its place, so that no two requests carry the same
    file and no store can save itself the writing. The number stands at the start of a
    line of base64, where letters or digits stood: text stays text.
    """
    numbered = []
    marks = []
    for at, (path, content) in enumerate(files):
        place = next(
            line
            for line in range(len(content) // LINE // 2, len(content) // LINE)
            if re.fullmatch(rb"[0-9A-Za-z]{6}", content[line * LINE :][:SERIAL])
        )
        start = place * LINE
        mark = bytes([0, 1, 2, 3, 4, 5 + at])
        numbered.append((path, content[:start] + mark + content[start + SERIAL :]))
        marks.append(base64.b64encode(mark))
    return numbered, marks


def encode_serial(number: int) -> bytes:
    """A serial number as it looks in an encoded file; as long as any other."""
    return base64.b64encode(b"%0*d" % (SERIAL, number % 10**SERIAL))


def _prose(source: random.Random) -> list[str]:
    return [", ".join(source.choices(PHRASES, k=2)) + ".\n" for _ in range(source.randint(2, 6))]


def _code(source: random.Random, number: int) -> list[str]:
    lines = [f"def fit_{number}(height, time):\n", '    """Return the parameters."""\n']
    lines += [
        f"    height *= {source.random():.6f} + time[{source.randint(0, 9)}]  # as measured\n"
        for _ in range(source.randint(3, 12))
    ]
    return [*lines, "    return height\n"]


def _printed(source: random.Random) -> dict[str, Any]:
    rows = [
        "  ".join(f"{source.gauss(0, 9):12.6f}" for _ in range(4)) + "\n"
        for _ in range(source.randint(3, 20))
    ]
    return {"name": "stdout", "output_type": "stream", "text": rows}


def _marks(number: int) -> dict[str, Any]:
    if number % 3 != 1:
        return {}
    return {
        "nbgrader": {
            "grade": False,
            "grade_id": f"cell-{number}",
            "locked": False,
            "schema_version": 3,
            "solution": True,
            "task": False,
        }
    }
