"""The wire formats: names, times, paths and directory trees."""

from __future__ import annotations

import json
import unicodedata
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngshare.errors import BadRequest
from ngshare.protocol.names import check_name, is_legal_name, is_storable_text
from ngshare.protocol.times import format_time, parse_time
from ngshare.protocol.trees import MAX_PATH_BYTES, check_path
from ngshare.web.bodies.json_text import JSON_VALUES, decode_json

utc = timezone.utc
moments = st.datetimes(timezones=st.just(utc))

# Names


@pytest.mark.parametrize(
    "name",
    ["a", " ", "Physics 101", "Ökonomie II", "O'Hara", "a@b.edu", ".", "..", "\\", "🎓", "\u0301",
     "\u202e", "n" * 255, "ü" * 255],
)  # fmt: skip
def test_legal_names(name: str) -> None:
    assert is_legal_name(name)
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "a/b",
        "a/",
        "\0",
        "a\nb",
        "\t",
        "\x1b[2J",
        "\x7f",
        "\x85",
        "\x9b2J",
        "\ud800",
        "n" * 256,
    ],
)
def test_illegal_names(name: str) -> None:
    assert not is_legal_name(name)
    with pytest.raises(BadRequest, match="Illegal name"):
        check_name(name)


def test_storable_text() -> None:
    assert is_storable_text("")
    assert is_storable_text("ü\n\t🎓")
    assert not is_storable_text("a\0")
    assert not is_storable_text("\udfff")


# Times


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2020, 1, 1, tzinfo=utc), "2020-01-01 00:00:00.000000 UTC"),
        (datetime(2020, 12, 31, 23, 59, 59, 999999, utc), "2020-12-31 23:59:59.999999 UTC"),
        (datetime(1, 2, 3, 4, 5, 6, 7, utc), "0001-02-03 04:05:06.000007 UTC"),
        (
            datetime(2020, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))),
            "2019-12-31 23:00:00.000000 UTC",
        ),
    ],
)
def test_a_time_is_written_in_utc_to_the_microsecond(moment: datetime, text: str) -> None:
    assert format_time(moment) == text


@given(moments)
def test_a_time_comes_back_as_it_was_written(moment: datetime) -> None:
    text = format_time(moment)
    assert len(text) == 30
    assert parse_time(text) == moment


@given(moments, st.sampled_from(["", " UTC", "UTC", "Z"]), st.sampled_from(["", " ", "\n\t"]))
def test_a_time_without_a_zone_is_utc(moment: datetime, zone: str, blank: str) -> None:
    text = blank + format_time(moment).removesuffix(" UTC") + zone + blank
    assert parse_time(text) == moment


@given(moments, moments)
def test_times_are_ordered_as_their_texts_are(one: datetime, other: datetime) -> None:
    assert (one < other) is (format_time(one) < format_time(other))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2020-01-01 00:00:00", datetime(2020, 1, 1, tzinfo=utc)),
        ("2020-01-01T00:00:00Z", datetime(2020, 1, 1, tzinfo=utc)),
        ("2020-01-01 00:00:00.5", datetime(2020, 1, 1, 0, 0, 0, 500000, utc)),
        ("2020-01-01 00:00:00.000001", datetime(2020, 1, 1, 0, 0, 0, 1, utc)),
        ("2020-01-01 00:00:00 +02:00", datetime(2019, 12, 31, 22, tzinfo=utc)),
        ("2020-01-01 00:00:00-0530", datetime(2020, 1, 1, 5, 30, tzinfo=utc)),
        ("\u00a02020-01-01 00:00:00 UTC\u2003", datetime(2020, 1, 1, tzinfo=utc)),
    ],
)
def test_other_spellings_of_a_time(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment


@pytest.mark.parametrize(
    "text",
    ["", " ", "now", "2020-01-01", "2020-02-30 00:00:00", "2020-01-01 24:00:00", "1577836800",
     "2020-01-01 00:00:00.0000001", "2020-01-01 00:00:00 PST", "٢٠٢٠-01-01 00:00:00",
     "0000-01-01 00:00:00", "0001-01-01 00:00:00+00:01", "9999-12-31 23:59:59-00:01",
     "2020-01-01 00:00:00\0", "2020-01-01 00:00:60", "2020-1-1 0:0:0",
     "2020-01-01 00:00:00 +99:99:99"],
)  # fmt: skip
def test_invalid_times_are_refused(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^Time format incorrect$"):
        parse_time(text)


def test_a_time_must_be_supplied() -> None:
    with pytest.raises(BadRequest, match=r"^Please supply timestamp$"):
        parse_time(None)


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        assert parse_time(text).tzinfo is utc
    except BadRequest as error:
        assert error.message == "Time format incorrect"


# Paths

# Weighted towards what paths are made of, good and bad.
paths = st.lists(
    st.sampled_from(["/", ".", "..", "a", "b.txt", "ü", " ", "\\", "\0", "\n", "\x7f", "\ud800"])
    | st.text(max_size=3),
    max_size=8,
).map("".join)


@pytest.mark.parametrize(
    "path",
    ["a", "a/b/c.ipynb", ".hidden", "...", "a/..b", "a b", "Übung 1.ipynb", "~", "C:", "-rf", "*",
     " ", "a/" * 900 + "b", "n" * 255, "n" * 255 + "/" + "m" * 255, "ü" * 127],
)  # fmt: skip
def test_a_legal_path(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    ["/a", "/", "", "../etc", "a/./a.py", "a/.", "a//b", "a/", ".", "..", "./a", "a/..", "a/../b",
     "//", "/..", "a\0", "\0", "a\nb", "a\tb", "\x1b", "\x7f", "\x9b", "a\\b", "..\\a", "C:\\a",
     "\ud800", "a/\udfff", "n" * 256, "a/" + "n" * 256 + "/b", "ü" * 128, "a/" * 1024 + "b"],
)  # fmt: skip
def test_an_illegal_path(path: str) -> None:
    with pytest.raises(BadRequest, match=r"^Illegal path$"):
        check_path(path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/a", '"/a" is absolute'),
        ("", '"" is empty'),
        ("../etc", '"../etc" has a part that is ..'),
        ("a/./b", '"a/./b" has a part that is .'),
        ("a//b", '"a//b" has a part that is empty'),
        ("a\nb", '"a\\nb" has a control character'),
        ("a\x9b", '"a\\u009b" has a control character'),
        ("\ud800", '"\\ud800" has half of a surrogate pair'),
        ("C:\\a", '"C:\\\\a" has a backslash'),
        ("n" * 256, '"' + "n" * 200 + '..." has a part longer than 255 bytes'),
        ("a/" * 1024 + "b", '"' + "a/" * 100 + '..." is longer than 2048 bytes'),
    ],
)
def test_the_log_has_the_illegal_path_and_the_reason(path: str, reason: str) -> None:
    with pytest.raises(BadRequest) as raised:
        check_path(path)
    assert raised.value.log_reason == reason
    assert raised.value.reason is None, "the caller is told in debug mode"


@given(paths)
def test_a_path_is_legal_only_if_unpacking_it_stays_inside(path: str) -> None:
    """Check the rule against another formulation of it."""
    legal = (
        path != ""
        and all(part.strip(".") or len(part) > 2 for part in path.split("/"))
        and "\\" not in path
        and all(unicodedata.category(letter) != "Cc" for letter in path)
        and not any(0xD800 <= ord(letter) <= 0xDFFF for letter in path)
    )
    try:
        check_path(path)
        accepted = True
    except BadRequest:
        accepted = False
    assert accepted is legal


def test_the_longest_path_can_be_stored_and_indexed() -> None:
    longest = ("n" * 255 + "/") * 8
    assert check_path(longest[:MAX_PATH_BYTES].rstrip("/"))
    with pytest.raises(BadRequest):
        check_path(longest + "n")


# JSON


@pytest.mark.parametrize("kind", [str, bytes])
@pytest.mark.parametrize("value", ["[]", "{}", "0", '""', '{"a": 0}', "[[]]"])
def test_the_number_of_values_in_a_json_text_is_limited(kind: type, value: str) -> None:
    def text(count: int) -> Any:
        joined = "[" + ", ".join([value] * count) + "]"
        return joined if kind is str else joined.encode()

    assert len(decode_json(text(1000), "wrong")) == 1000
    with pytest.raises(BadRequest, match=f"more than {JSON_VALUES} JSON values"):
        decode_json(text(JSON_VALUES + 1), "wrong")


def test_a_long_json_text_with_few_values_is_accepted() -> None:
    content = "," * 10 + "A" * 3 * JSON_VALUES
    assert decode_json(json.dumps({"content": content}), "wrong") == {"content": content}


@pytest.mark.parametrize("digits", ["1" * 21, "-" + "1" * 1000, "9" * 100_000])
def test_the_length_of_json_integers_is_limited(digits: str) -> None:
    with pytest.raises(BadRequest, match="wrong"):
        decode_json(f"[{digits}]", "wrong")
    assert decode_json("[12345678901234567890, -1]", "wrong") == [12345678901234567890, -1]
