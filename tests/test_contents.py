"""Contents that are taken out of a JSON text say what the decoder would have made of them."""

from __future__ import annotations

import base64
import json
import random
import secrets
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngshare import contents
from ngshare.contents import LINE, LONG, PIECE, QUOTES, take_out
from ngshare.errors import BadRequest
from ngshare.wire import UploadedFile, parse_tree

LETTERS = b"A student's work, in many words. " * 100
BINARY = bytes(range(256)) * 20
BROKEN = base64.encodebytes(LETTERS).decode()
WHOLE = base64.b64encode(LETTERS).decode()
NOT_LONG = base64.encodebytes(b"short").decode()


def text_of(*entries: tuple[Any, Any], **more: Any) -> str:
    return json.dumps([{"path": path, "content": content, **more} for path, content in entries])


def slowly(text: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """What comes of a text from which nothing is taken out: the files, or what is wrong."""
    with monkeypatch.context() as patched:
        patched.setattr(contents, "LONG", len(text))
        return parsed(text)


def parsed(text: str) -> object:
    try:
        return parse_tree(text)
    except BadRequest as error:
        return error.message


@pytest.mark.parametrize("content", [BROKEN, WHOLE, base64.encodebytes(BINARY).decode()])
def test_long_contents_never_reach_the_decoder(content: str) -> None:
    text = text_of(("a", content), ("b", NOT_LONG))
    rest, found = take_out(text)
    assert len(rest) < 200
    [taken] = found.values()
    assert taken.decoded == base64.b64decode(content)
    assert contents.string(text, taken) == content
    assert parse_tree(text) == [
        UploadedFile("a", base64.b64decode(content)),
        UploadedFile("b", b"short"),
    ]


@pytest.mark.parametrize("size", [LONG, 57 * 20 - 1, 57 * 20, 57 * 20 + 1, 57 * 20 + 3])
def test_the_last_line_may_have_any_length(size: int) -> None:
    content = (LETTERS * 2)[:size]
    for encoded in (base64.encodebytes(content), base64.encodebytes(content).rstrip(b"\n")):
        text = text_of(("a", encoded.decode()))
        assert len(take_out(text)[1]) == 1
        assert parse_tree(text) == [UploadedFile("a", content)]


@pytest.mark.parametrize("lines", [3360, 3361, 2 * 3360, 5000])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_contents_of_several_pieces(lines: int, more: int) -> None:
    content = random.Random(lines).randbytes(lines * 57 + more)
    for encoded in (base64.encodebytes(content), base64.b64encode(content)):
        text = text_of(("a", encoded.decode()))
        assert len(take_out(text)[1]) == 1
        assert parse_tree(text) == [UploadedFile("a", content)]


@pytest.mark.parametrize("in_lines", [False, True])
def test_padding_between_two_pieces_is_no_base64(in_lines: bool) -> None:
    line = "A" * LINE + "\n" * in_lines
    whole = line * (PIECE // (LINE + 2) if in_lines else PIECE // LINE + 1)
    whole = whole if in_lines else whole[:PIECE]
    spoiled = whole[:-3] + "==\n" if in_lines else whole[:-2] + "=="
    assert parse_tree(text_of(("a", whole + whole)))
    with pytest.raises(BadRequest, match="Content cannot be base64 decoded"):
        parse_tree(text_of(("a", spoiled + whole)))


@pytest.mark.parametrize("path", ['a"b', 'a"b"', "a\\", 'a\\"', '"'])
def test_quotation_marks_and_backslashes_before_it_hide_no_content(path: str) -> None:
    [taken] = take_out(text_of((path, WHOLE), ("b", NOT_LONG)))[1].values()
    assert taken.decoded == LETTERS


def test_only_long_strings_are_taken_out() -> None:
    assert len(take_out(f'["{WHOLE[:LONG]}"]')[1]) == 1
    assert take_out(f'["{WHOLE[: LONG - 4]}"]')[1] == {}


LEFT = {
    "other lines": BROKEN.replace("\n", "\r\n"),
    "lines of another length": "\n".join(WHOLE[at : at + 64] for at in range(0, len(WHOLE), 64)),
    "an empty line": BROKEN + "\n",
    "a line break within": BROKEN[:10] + "\n" + BROKEN[10:],
    "one break, and then one long line": WHOLE[:76] + "\n" + WHOLE[76 : 76 + 16 * 78],
    "a tab for a line break": BROKEN.replace("\n", "\t", 1),
    "a quotation mark": BROKEN[:100] + '"' + BROKEN[100:],
    "a backslash before each": BROKEN.replace("\n", "\\\n"),
    "n after a backslash": BROKEN.replace("\n", "\\n"),
    "a backslash and n after full lines": base64.encodebytes(LETTERS[:1140]).decode()[:-1] + "\\n",
    "no base64": "Not base64! " * 200,
    "a letter of another script": BROKEN[:500] + "ü" + BROKEN[501:],
    "one letter too many": WHOLE + "A",
    "padding within": WHOLE[:500] + "=" + WHOLE[501:],
}


@pytest.mark.parametrize("content", LEFT.values(), ids=LEFT)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_is_left_to_the_decoder(
    content: str, ascii_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps([{"path": "a", "content": content}], ensure_ascii=ascii_only)
    assert take_out(text) == (text, {})
    assert parsed(text) == slowly(text, monkeypatch)


ODD = {
    "a path like base64": text_of(("/".join([WHOLE[:200]] * 6), "MQ==")),
    "a path like base64 behind quotation marks": text_of(
        ('x"y"' + "/".join([WHOLE[:200]] * 6), "MQ==")
    ),
    "a path too long": text_of((WHOLE, "MQ==")),
    "a path with line breaks": text_of((BROKEN, "MQ==")),
    "one path twice": text_of(*[("/".join([WHOLE[:200]] * 6), "MQ==")] * 2),
    "a key like base64": json.dumps([{"path": "a", "content": "MQ==", WHOLE: WHOLE}]),
    "another field": text_of(("a", BROKEN), checksum=WHOLE, mode=[WHOLE, {"content": WHOLE}]),
    "one content twice": f'[{{"path": "a", "content": "{WHOLE}", "content": "MQ=="}}]',
    "content in a list": text_of(("a", [WHOLE])),
    "content in an object": text_of(("a", {"content": WHOLE})),
    "a path in a list": text_of(([WHOLE], BROKEN)),
    "a number for a path": text_of((7, BROKEN)),
    "nothing else": json.dumps(WHOLE),
    "a list of strings": json.dumps([WHOLE, BROKEN]),
    "an object": json.dumps({"path": "a", "content": WHOLE}),
    "a string that does not end": text_of(("a", WHOLE))[:-5],
    "outside of strings": f'[{{"path": "a" {WHOLE} "content": "MQ=="}}]',
    "right after a string": f'["a"{WHOLE}"b"]',
    "escaped quotation marks": text_of(('a"b\\', WHOLE), ('\\"', BROKEN), ('c\\"d"', BROKEN)),
    "a mark of its own": text_of(("a", WHOLE), ("b", f"{'0' * 32}-0")),
    "nothing": "",
    "a quotation mark": '"',
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_texts_are_read_the_same(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parsed(text) == slowly(text, monkeypatch)


strings = st.one_of(
    st.sampled_from([WHOLE, BROKEN, NOT_LONG, "a", "path", "content", '"', "\\", '\\"', ""]),
    st.text(max_size=5),
)
values = st.recursive(
    strings | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=8,
)


@given(values, st.sampled_from(["", '"', "\\", WHOLE, "]"]), st.integers(0, 10_000))
def test_any_text_is_read_the_same(value: Any, put_in: str, at: int) -> None:
    text = json.dumps(value)
    text = text[: at % (len(text) + 1)] + put_in + text[at % (len(text) + 1) :]
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert parsed(text) == slowly(text, monkeypatch)


def test_a_mark_cannot_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who could guess one would be given another file's content: it is new each time."""
    text = text_of(("a", WHOLE))
    marks = {mark for _ in range(10) for mark in take_out(text)[1]}
    assert len(marks) == 10
    assert all(len(mark) > 32 for mark in marks)
    monkeypatch.setattr(secrets, "token_hex", lambda size: "token")
    assert take_out(text)[1].keys() == {"token-0"}


def test_only_so_many_quotation_marks_are_looked_at() -> None:
    many = json.dumps([""] * (QUOTES // 2 - 2))[:-1]
    assert len(take_out(f'{many}, "{WHOLE}"]')[1]) == 1
    assert take_out(f'{many}, "", "", "{WHOLE}"]')[1] == {}
