"""Paths in an archive are valid on every system, and no two of them collide."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngshare.protocol.portable_paths import MAX_NAME_BYTES, PortablePaths, portable_name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("ps1.ipynb", "ps1.ipynb"),
        ("Ökonomie II", "Ökonomie II"),
        ("O\u0308konomie", "Ökonomie"),
        (".hidden", ".hidden"),
        ("a:b*c?", "a_b_c_"),
        ('<">|\\', "_____"),
        ("tab\there", "tab_here"),
        ("evil\u202egnp.exe", "evil_gnp.exe"),
        ("ends with a dot.", "ends with a dot"),
        ("ends with blanks  ", "ends with blanks"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("console", "console"),
        ("...", "_"),
        ("..", "_"),
        ("", "_"),
    ],
)
def test_portable_name(name: str, safe: str) -> None:
    assert portable_name(name) == safe


def test_a_long_name_keeps_its_ending() -> None:
    safe = portable_name("ü" * 300 + ".ipynb")
    assert len(safe.encode()) <= MAX_NAME_BYTES
    assert safe.startswith("üüü")
    assert safe.endswith(".ipynb")
    assert safe != portable_name("ü" * 301 + ".ipynb")


def test_names_that_would_become_the_same() -> None:
    names = PortablePaths()
    assert names.path("data/a.txt") == "data/a.txt"
    assert names.path("data/A.TXT") == "data/A~2.TXT"
    assert names.path("data/a.txt") == "data/a.txt"
    assert names.path("Data/a.txt") == "Data~2/a.txt"
    assert names.path("x:") == "x_"
    assert names.path("x?") == "x_~2"
    assert names.path("x_~2") == "x_~2~2"


@given(st.lists(st.text(st.sampled_from("aA.:? é~2/\u0301"), min_size=1), unique=True))
def test_they_never_do(paths: list[str]) -> None:
    names = PortablePaths()
    given_names = [names.path(path) for path in paths]
    folded = {name.casefold() for name in given_names}
    assert len(folded) == len(set(paths))
    for name in given_names:
        for part in name.split("/"):
            assert part not in ("", ".", "..")
            assert part == part.rstrip(". ")
            assert not set(part) & set('<>:"\\|?*')
