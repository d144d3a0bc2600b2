"""Warnings about usernames, and keys of names that look alike."""

from __future__ import annotations

from itertools import combinations

import pytest

from ngshare.protocol.usernames import lookalike_key, name_warnings

CAPITALS = "has capitals, and JupyterHub makes names lower-case by default"


@pytest.mark.parametrize(
    "name", ["u6", "j.doe@x.edu", "jürgen", "o'hara", "a b", "service:Grader", "王小明", "🎓"]
)
def test_names_without_warnings(name: str) -> None:
    assert name_warnings(name) == []


@pytest.mark.parametrize(
    ("name", "warnings"),
    [
        (" u6 ", ["begins or ends with a blank"]),
        ("u6\u00a0", ["begins or ends with a blank"]),
        ("u\u200b6\ufeff", ["has invisible characters (U+200B, U+FEFF)"]),
        ("\u202eu6", ["has invisible characters (U+202E)"]),
        ("ju\u0308rgen", ["is not in Unicode's normal form NFC"]),
        ("JDoe", [CAPITALS]),
        ("Service:x", [CAPITALS]),
        (" JDoe", ["begins or ends with a blank", CAPITALS]),
    ],
)
def test_names_with_warnings(name: str, warnings: list[str]) -> None:
    assert name_warnings(name) == warnings


def test_names_that_look_alike_have_one_key() -> None:
    alike = ["jürgen s", "ju\u0308rgen s", " Jürgen  S ", "jürgen\u00a0s\u200b", "\uff4aürgen s"]
    assert {lookalike_key(name) for name in alike} == {"jürgen s"}
    different = ["jdoe", "j.doe", "jdoe2", "jdoe@x.edu", "j doe", "jdoé"]
    assert all(
        lookalike_key(one) != lookalike_key(other) for one, other in combinations(different, 2)
    )
