"""The fields of a request, from its query string and its body."""

from __future__ import annotations

import tracemalloc
from typing import Any
from urllib.parse import unquote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngshare.errors import BadRequest
from ngshare.web.bodies.fields import parse_body
from ngshare.web.bodies.long_values import BODY_PIECE, MAX_FIELDS
from ngshare.web.bodies.urlencoded import parse_form

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=line"

text = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", {}),
        (b"a=1", {"a": "1"}),
        (b"a=1&b=2", {"a": "1", "b": "2"}),
        (b"a=", {"a": ""}),
        (b"a", {"a": ""}),
        (b"=1", {"": "1"}),
        (b"&&a=1&&", {"a": "1"}),
        (b"a=1&a=2", {"a": "2"}),
        (b"a=b=c", {"a": "b=c"}),
        (b"a=1;b=2", {"a": "1;b=2"}),
        (b"a+b=c+d", {"a b": "c d"}),
        (b"a=%2B%26%3D", {"a": "+&="}),
        (b"%C3%BC=%c3%bc", {"ü": "ü"}),
        ("ü=ü".encode(), {"ü": "ü"}),
        (b"a=%", {"a": "%"}),
        (b"a=%zz%4", {"a": "%zz%4"}),
        (b"a=%00", {"a": "\0"}),
        (b"a=\r\n", {"a": "\r\n"}),
    ],
)
def test_a_form_is_understood(body: bytes, fields: dict[str, str]) -> None:
    assert parse_form(body) == fields


@given(st.dictionaries(text, text, max_size=20))
def test_a_form_comes_back_as_it_was_encoded(fields: dict[str, str]) -> None:
    assert parse_form(urlencode(fields).encode()) == fields


@given(
    st.text(st.sampled_from("%=+4Gaé\r\n")),
    st.lists(st.sampled_from(["%41", "%c3%A9", "%2B", "%0A"])),
)
def test_a_long_value_is_understood_as_a_short_one(odd: str, escapes: list[str]) -> None:
    # A long one that holds escapes only is decoded in another way.
    for value in ("".join(escapes), odd, odd + "".join(escapes)):
        long = "y" * 2000 + value
        assert parse_form(f"a={long}".encode()) == {"a": unquote_plus(long)}


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_a_value_of_many_escapes_is_understood_in_little_memory(before: int) -> None:
    # The sign and the odd letters make that the standard library must unescape it.
    body = b"a==%zz" + b"y" * before + b"%C3%A9" * 4 * BODY_PIECE + b"%4"
    tracemalloc.start()
    try:
        fields = parse_form(body)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert fields == {"a": "=%zz" + "y" * before + "é" * 4 * BODY_PIECE + "%4"}
    assert most < 10 * len(body)


@pytest.mark.parametrize("body", [b"a=\xff", b"\xff=1", b"a=%ff", b"%ff=1", b"a=%ed%a0%80"])
def test_a_form_is_utf8(body: bytes) -> None:
    with pytest.raises(BadRequest, match="UTF-8"):
        parse_form(body)


def test_the_fields_of_a_form_are_bounded() -> None:
    assert len(parse_form(b"&".join(b"%d=1" % n for n in range(MAX_FIELDS)))) == MAX_FIELDS
    for body in (b"a=1&" * MAX_FIELDS, b"&" * 10_000):
        with pytest.raises(BadRequest, match=str(MAX_FIELDS)):
            parse_form(body)


@given(st.sampled_from([FORM, MULTIPART, "application/json"]), st.binary(max_size=200))
def test_a_body_of_any_bytes_is_understood_or_refused(kind: str, body: bytes) -> None:
    try:
        fields = parse_body(kind, body)
    except BadRequest as error:
        assert error.message
    else:
        assert isinstance(fields, dict)
        assert all(isinstance(name, str) for name in fields)


@pytest.mark.parametrize("kind", ["", FORM, FORM.upper(), FORM + "; charset=x", FORM + " ;"])
def test_a_body_is_a_form_unless_it_says_otherwise(kind: str) -> None:
    assert parse_body(kind, b"a=1") == {"a": "1"}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"{}", {}),
        (b'{"a": "\\u00fc"}', {"a": "ü"}),
        ('{"a": ["ü", 1, null, true, {}]}'.encode(), {"a": ["ü", 1, None, True, {}]}),
        (b' \r\n{"a": 1}', {"a": 1}),
        ('{"a": 1}'.encode("utf-16"), {"a": 1}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"", {}),
    ],
)
def test_json_keeps_its_types(body: bytes, fields: dict[str, Any]) -> None:
    assert parse_body("application/json", body) == fields


@pytest.mark.parametrize(
    "body",
    [b"{", b"a=1", b"{'a': 1}", b'{"a": \xff}', b'{"a": 1}}', b" ", b"[" * 100_000, b"9" * 5_000,
     b'{"a": -' + b"9" * 30 + b"}"],
)  # fmt: skip
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="cannot be JSON decoded"):
        parse_body("application/json", body)


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"a"', b"true", b"NaN"])
def test_json_is_an_object(body: bytes) -> None:
    with pytest.raises(BadRequest, match="must be a JSON object"):
        parse_body("application/json", body)


def part(name: str, value: bytes, *more: str) -> bytes:
    head = "; ".join(["Content-Disposition: form-data", f'name="{name}"', *more])
    return b"--line\r\n" + head.encode() + b"\r\n\r\n" + value + b"\r\n"


def test_multipart_is_understood() -> None:
    body = part("a", b"1\r\n2") + part("b", "ü".encode()) + part("a", b"3") + b"--line--\r\n"
    assert parse_body(MULTIPART, body) == {"a": "3", "b": "ü"}


def test_an_uploaded_file_of_multipart_is_no_field() -> None:
    body = part("a", b"1", 'filename="a.txt"') + b"--line--\r\n"
    assert parse_body(MULTIPART, body) == {}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"--line--\r\n"),
        (MULTIPART, b"a=1"),
        (MULTIPART, b"--line\r\n\r\n1\r\n--line--\r\n"),
        (MULTIPART, part("a", b"1")),
        (MULTIPART, part("a", b"\xff") + b"--line--\r\n"),
        (MULTIPART, b"--line\r\n\xff: \xff\r\n\r\n1\r\n--line--\r\n"),
        (MULTIPART, part("a", b"1") * 10_000 + b"--line--\r\n"),
        (MULTIPART, b"--line\r\n" + b"X: 1\r\n" * 100_000 + b"\r\n1\r\n--line--\r\n"),
    ],
    ids=range(8),
)
def test_what_is_no_multipart_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_body(kind, body)


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "json", "\xff", "x" * 5_000])
def test_other_content_types_are_refused_with_those_that_are_understood(kind: str) -> None:
    with pytest.raises(BadRequest, match=r"application/x-www-form-urlencoded.*application/json"):
        parse_body(kind, b"a=1")
