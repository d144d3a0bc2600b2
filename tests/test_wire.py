"""The wire formats: names, times, paths and directory trees."""

from __future__ import annotations

import base64
import hashlib
import json
import unicodedata
from datetime import datetime, timedelta, timezone
from itertools import permutations
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ngshare.errors import BadRequest
from ngshare.wire import (
    JSON_VALUES,
    PATH_BYTES,
    StoredFile,
    UploadedFile,
    check_name,
    check_path,
    decode_json,
    format_full_tree,
    format_time,
    format_tree,
    is_name,
    is_text,
    md5,
    parse_time,
    parse_tree,
)

utc = timezone.utc
moments = st.datetimes(timezones=st.just(utc))

# Names


@pytest.mark.parametrize(
    "name",
    ["a", " ", "Physics 101", "Ökonomie II", "O'Hara", "a@b.edu", ".", "..", "\\", "🎓", "\u0301",
     "\u202e", "n" * 255, "ü" * 255],
)  # fmt: skip
def test_a_name_is_any_text_without_a_slash(name: str) -> None:
    assert is_name(name)
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
def test_a_name_has_no_slash_and_nothing_that_cannot_be_kept_or_shown(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(BadRequest, match="Illegal name"):
        check_name(name)


def test_text_is_what_every_database_can_keep() -> None:
    assert is_text("")
    assert is_text("ü\n\t🎓")
    assert not is_text("a\0")
    assert not is_text("\udfff")


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
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^Time format incorrect$"):
        parse_time(text)


def test_a_time_must_be_supplied() -> None:
    with pytest.raises(BadRequest, match=r"^Please supply timestamp$"):
        parse_time(None)


@given(st.text())
def test_any_text_is_a_time_or_refused(text: str) -> None:
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
def test_the_log_is_told_which_path_is_illegal_and_why(path: str, reason: str) -> None:
    with pytest.raises(BadRequest) as raised:
        check_path(path)
    assert raised.value.log_reason == reason
    assert raised.value.reason is None, "the caller is told in debug mode"


@given(paths)
def test_a_path_is_legal_only_if_unpacking_it_stays_inside(path: str) -> None:
    """The rule again, in other words than the code's."""
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


def test_a_path_can_be_kept_and_indexed() -> None:
    longest = ("n" * 255 + "/") * 8
    assert check_path(longest[:PATH_BYTES].rstrip("/"))
    with pytest.raises(BadRequest):
        check_path(longest + "n")


# Trees


def entry(path: Any = "a", content: Any = "MQ==") -> dict[str, Any]:
    return {"path": path, "content": content}


def test_a_tree_is_json_text_or_the_list_itself() -> None:
    files = [UploadedFile("a/b", b"1"), UploadedFile("c", b"")]
    entries = [entry("a/b"), entry("c", "")]
    for tree in (entries, json.dumps(entries), json.dumps(entries).encode()):
        assert parse_tree(tree) == files


def test_an_empty_tree_is_a_tree() -> None:
    assert parse_tree([]) == []
    assert parse_tree("[]") == []


def test_other_keys_are_ignored() -> None:
    assert parse_tree([{**entry(), "checksum": 7, "mode": None}]) == [UploadedFile("a", b"1")]


legal_paths = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1)
    .filter(lambda part: part not in (".", ".."))
    .map(lambda part: part[:60]),
    min_size=1,
    max_size=4,
).map("/".join)


@given(st.dictionaries(legal_paths, st.binary(max_size=200), max_size=6))
def test_a_tree_comes_back_as_it_was_sent(contents: dict[str, bytes]) -> None:
    parents = {path[:at] for path in contents for at, letter in enumerate(path) if letter == "/"}
    assume(not parents & contents.keys())
    stored = [
        StoredFile(path, hashlib.sha256(content).digest(), md5(content), len(content))
        for path, content in contents.items()
    ]
    reply = json.loads(format_full_tree(stored, contents.values()))
    for file in reply:
        assert file.keys() == {"path", "checksum", "content"}
        content = contents[file["path"]]
        assert file["checksum"] == hashlib.md5(content).hexdigest()
        assert base64.b64decode(file["content"], validate=True) == content
    assert parse_tree(reply) == [UploadedFile(*item) for item in contents.items()]

    listed = format_tree(stored)
    assert listed == [{"path": one["path"], "checksum": one["checksum"]} for one in reply]


@given(st.binary(max_size=300), st.sampled_from(["\n", "\r\n", " ", "\t\n"]))
def test_base64_may_be_broken_into_lines(content: bytes, line_break: str) -> None:
    text = base64.encodebytes(content).decode().replace("\n", line_break)
    assert parse_tree([entry(content=text)]) == [UploadedFile("a", content)]


@pytest.mark.parametrize(
    "content",
    ["M", "MQ", "MQ=", "MQ===", "MQ==MQ==", "=", "====", "M*==", "M-_=", "MQ==\0", "\ud800", "ü",
     "MQ==\u00a0", "\u2003", "MQ==\x0b"],
)  # fmt: skip
def test_what_is_no_base64_is_refused(content: str) -> None:
    with pytest.raises(BadRequest, match=r"^Content cannot be base64 decoded$"):
        parse_tree([entry(content=content)])


def test_other_scripts_are_refused_before_blanks_are_looked_for() -> None:
    """One call over all of a long text, with nothing else done meanwhile: seconds of it."""

    class Long(str):
        def translate(self, table: object) -> str:
            raise AssertionError("it is no base64, whatever its blanks")

    with pytest.raises(BadRequest, match=r"^Content cannot be base64 decoded$"):
        parse_tree([{"path": "a", "content": Long("MQ=\u00fc=")}])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "Please supply files"),
        ("", "Files cannot be JSON decoded"),
        ("[", "Files cannot be JSON decoded"),
        (b"\xff", "Files cannot be JSON decoded"),
        ("[" * 100_000, "Files cannot be JSON decoded"),
        ("9" * 5_000, "Files cannot be JSON decoded"),
        ("null", "Files must be a JSON list"),
        ({}, "Files must be a JSON list"),
        (7, "Files must be a JSON list"),
        (True, "Files must be a JSON list"),
        ([entry(), "a"], "Files must be a list of objects: entry 1 is not one"),
        ([entry(), {"content": ""}], "Files entry 1 has no path"),
        ([{"path": "a"}], "Files entry 0 has no content"),
        ([entry(path=7)], "Files entry 0: path must be a string"),
        ([entry(content=None)], "Files entry 0: content must be a string"),
    ],
    ids=range(15),
)
def test_a_tree_of_the_wrong_shape_is_refused_with_what_is_wrong(files: Any, message: str) -> None:
    with pytest.raises(BadRequest) as raised:
        parse_tree(files)
    assert raised.value.message == message


@pytest.mark.parametrize(
    "paths",
    [
        ["a", "a"],
        ["a", "b", "a"],
        ["a", "a/b"],
        ["a/b/c", "a"],
        ["a/b", "a/b/c/d"],
        ["x", "../x"],
    ],
)
def test_a_path_stands_once_and_is_not_anothers_folder(paths: list[str]) -> None:
    with pytest.raises(BadRequest, match=r"^Illegal path$"):
        parse_tree([entry(path) for path in paths])


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (["a/b", "c", "a/b"], '"a/b" is there twice'),
        (["a/b/c", "a/b"], '"a/b" is a file and another\'s folder'),
    ],
)
def test_the_log_is_told_which_paths_exclude_each_other(paths: list[str], reason: str) -> None:
    with pytest.raises(BadRequest) as raised:
        parse_tree([entry(path) for path in paths])
    assert raised.value.log_reason == reason


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "a-", "a.", "aa"]), min_size=1, max_size=3).map(
            "/".join
        ),
        max_size=6,
    )
)
def test_any_two_paths_are_compared(paths: list[str]) -> None:
    clash = any(
        one == other or other.startswith(one + "/") for one, other in permutations(paths, 2)
    )
    try:
        parse_tree([entry(path) for path in paths])
        refused = False
    except BadRequest:
        refused = True
    assert refused is clash


def test_paths_that_only_look_alike_are_different() -> None:
    paths = ["a", "A", "a.b", "a b", "ab/c", "a-/b", "é", "e\u0301"]
    assert [file.path for file in parse_tree([entry(path) for path in paths])] == paths


def test_a_large_and_deep_tree_is_a_tree() -> None:
    deep = [entry(f"{n}/" + "d/" * 500 + "f", "") for n in range(2_000)]
    assert len(parse_tree(deep)) == 2_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["path", "content"]), inner),
    max_leaves=10,
)


@given(json_values | st.lists(st.fixed_dictionaries({"path": paths, "content": st.text()})))
def test_anything_is_a_tree_or_refused_with_a_message(files: Any) -> None:
    try:
        parsed = parse_tree(files)
    except BadRequest as error:
        assert error.message
    else:
        for file in parsed:
            check_path(file.path)


@pytest.mark.parametrize("kind", [str, bytes])
@pytest.mark.parametrize("value", ["[]", "{}", "0", '""', '{"a": 0}', "[[]]"])
def test_how_many_values_a_json_text_may_have_is_bounded(kind: type, value: str) -> None:
    def text(count: int) -> Any:
        joined = "[" + ", ".join([value] * count) + "]"
        return joined if kind is str else joined.encode()

    assert len(decode_json(text(1000), "wrong")) == 1000
    with pytest.raises(BadRequest, match=f"more than {JSON_VALUES} JSON values"):
        decode_json(text(JSON_VALUES + 1), "wrong")


def test_a_long_json_text_of_few_values_is_fine() -> None:
    content = "," * 10 + "A" * 3 * JSON_VALUES
    assert decode_json(json.dumps({"content": content}), "wrong") == {"content": content}


@pytest.mark.parametrize("digits", ["1" * 21, "-" + "1" * 1000, "9" * 100_000])
def test_an_integer_of_json_is_not_longer_than_any_that_means_something(digits: str) -> None:
    with pytest.raises(BadRequest, match="wrong"):
        decode_json(f"[{digits}]", "wrong")
    assert decode_json("[12345678901234567890, -1]", "wrong") == [12345678901234567890, -1]
