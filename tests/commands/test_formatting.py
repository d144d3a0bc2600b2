"""Counts in the output of commands: nouns and verbs agree with the number."""

from __future__ import annotations

import pytest

from ngshare.commands.formatting import format_count, pluralize


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 files are"), (1, "1 file is"), (2, "2 files are"), (2000, "2,000 files are")],
)
def test_noun_and_verb_agree_with_the_number(number: int, words: str) -> None:
    assert format_count(number, "file is", "files are") == words
    assert f"{format_count(number, 'file')} {pluralize(number, 'is', 'are')}" == words
