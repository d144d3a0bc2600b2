"""Trees in requests: parsed alike from text, list and file, and stored whole or not at all."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ngshare.blobs import LocalBlobs
from ngshare.errors import BadRequest, OverQuota, TooLarge
from ngshare.protocol.trees import check_path
from ngshare.web.bodies import json_stream
from ngshare.web.bodies.long_values import LongValue
from ngshare.web.reservations import Reservations
from ngshare.web.uploads import BadContent, decode_pieces, read_tree, store_tree
from tests.protocol.test_formats import paths


def entry(path: Any = "a", content: Any = "MQ==") -> dict[str, Any]:
    return {"path": path, "content": content}


def in_file(text: str | bytes, size: int = 7) -> LongValue:
    """The same JSON text as it is read from a file: in pieces, here of very few bytes."""
    encoded = text.encode("utf8", "surrogatepass") if isinstance(text, str) else text
    return LongValue(lambda: (encoded[at : at + size] for at in range(0, len(encoded), size)))


def in_body(text: str) -> LongValue:
    """The same as a field of a JSON body in a file."""
    return LongValue(in_file('{"user": "sam", "files": ' + text + "}").pieces, in_body=True)


WAYS: dict[str, Any] = {
    "list": json.loads,
    "text": str,
    "file": in_file,
    "body": in_body,
}

every_way = pytest.mark.parametrize("way", WAYS)


def add_text(text: Iterator[str]) -> bytes | None:
    try:
        return b"".join(decode_pieces(text))
    except BadContent:
        return None


def parse(files: object) -> list[tuple[str, bytes]]:
    return read_tree(files, add_text)


@every_way
def test_a_tree(way: str) -> None:
    text = json.dumps(
        [entry("a/b"), entry("c", ""), {**entry("ü 🎓"), "checksum": 7, "mode": None}]
    )
    assert parse(WAYS[way](text)) == [("a/b", b"1"), ("c", b""), ("ü 🎓", b"1")]
    assert parse(WAYS[way]("[]")) == []
    assert parse(WAYS[way](" [ ] ")) == []


def cut(text: str, size: int) -> Iterator[str]:
    return (text[at : at + size] for at in range(0, len(text), size))


@given(st.binary(max_size=300), st.sampled_from(["\n", "\r\n", " ", "\t\n"]), st.integers(1, 90))
def test_base64_may_be_broken_into_lines(content: bytes, line_break: str, at_once: int) -> None:
    text = base64.encodebytes(content).decode().replace("\n", line_break)
    assert b"".join(decode_pieces(cut(text, at_once))) == content


@pytest.mark.parametrize("at_once", [1, 4, 5, 1000])
@pytest.mark.parametrize(
    "content",
    ["M", "MQ", "MQ=", "MQ===", "MQ==MQ==", "=", "====", "M*==", "M-_=", "MQ==\0", "\ud800", "ü",
     "MQ==\u00a0", "\u2003", "MQ==\x0b", "MQ==\nMQ==", "TWFu="],
)  # fmt: skip
def test_what_is_no_base64_is_refused(content: str, at_once: int) -> None:
    with pytest.raises(BadRequest, match=r"^Content cannot be base64 decoded$"):
        list(decode_pieces(cut(content, at_once)))
    long = "A" * json_stream.LONG_STRING * 4
    for files in ([entry(content=content)], in_file(json.dumps([entry(content=long + content)]))):
        with pytest.raises(BadRequest):
            parse(files)


@pytest.mark.parametrize("size", [1, 7, 500, 10_000])
def test_long_strings_of_a_tree_in_a_file(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "LONG_STRING", 50)
    content = bytes(range(256)) * 8
    text = base64.encodebytes(content).decode()
    long_path = "/".join(["ü" * 100] * 9)
    files = [
        {"content": text, "path": long_path, "other": "no base64 " * 50},
        {"more": {"content": "no base64 " * 50, "x": ["content", text]}, **entry("a", text)},
        entry('content "\\" : "x'.replace("\\", ""), text.replace("\n", "")),
    ]
    for way in (json.dumps(files), json.dumps(files, ensure_ascii=False, indent=3)):
        assert parse(in_file(way, size)) == [
            (long_path, content),
            ("a", content),
            ('content "" : "x', content),
        ]
        escaped = way.replace("+", "\\u002b").replace("/", "\\/")
        assert parse(in_file(escaped, size)) == parse(in_file(way, size))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Files cannot be JSON decoded"),
        ("  ", "Files cannot be JSON decoded"),
        ("[", "Files cannot be JSON decoded"),
        ("[" * 100_000, "Files cannot be JSON decoded"),
        ("[]]", "Files cannot be JSON decoded"),
        ("[] x", "Files cannot be JSON decoded"),
        ('[{"path": "a", "content": ""},]', "Files cannot be JSON decoded"),
        ('[{"path": "\\ud800", "content": ""}]', "Files cannot be JSON decoded"),
        ('[{"path": "\\ude00", "content": ""}]', "Files cannot be JSON decoded"),
        ('[{"path": "a', "Files cannot be JSON decoded"),
        ('[{"path": "a", "content": "' + "A" * 2000, "Files cannot be JSON decoded"),
        ('[{"path": "a", "content": "' + "A" * 2000 + "\\x", "Files cannot be JSON decoded"),
        ('[{"path": "\x01", "content": ""}]', "Files cannot be JSON decoded"),
        ("null", "Files must be a JSON list"),
        ("{}", "Files must be a JSON list"),
        ("7", "Files must be a JSON list"),
        ("true", "Files must be a JSON list"),
        (json.dumps([entry(), "a"]), "Files must be a list of objects: entry 1 is not one"),
        (json.dumps([entry(), {"content": ""}]), "Files entry 1 has no path"),
        (json.dumps([{"path": "a"}]), "Files entry 0 has no content"),
        (json.dumps([entry(path=7)]), "Files entry 0: path must be a string"),
        (json.dumps([entry(content=None)]), "Files entry 0: content must be a string"),
        (json.dumps([entry("a"), entry("a")]), "Illegal path"),
        (json.dumps([entry("a"), entry("b"), entry("a")]), "Illegal path"),
        (json.dumps([entry("a"), entry("a/b")]), "Illegal path"),
        (json.dumps([entry("a/b/c"), entry("a")]), "Illegal path"),
        (json.dumps([entry("x"), entry("../x")]), "Illegal path"),
    ],
    ids=range(27),
)
def test_a_bad_tree_is_refused_alike_in_memory_and_in_a_file(text: str, message: str) -> None:
    for files in (text, in_file(text), in_file(text, 1000)):
        with pytest.raises(BadRequest) as raised:
            parse(files)
        assert raised.value.message == message


def test_a_tree_that_is_not_there_or_no_list() -> None:
    for files, message in ((None, "Please supply files"), ({}, "Files must be a JSON list")):
        with pytest.raises(BadRequest, match=f"^{message}$"):
            parse(files)


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (["a/b", "c", "a/b"], '"a/b" is there twice'),
        (["a/b/c", "a/b"], '"a/b" is a file and another\'s folder'),
    ],
)
def test_the_log_is_told_which_paths_exclude_each_other(paths: list[str], reason: str) -> None:
    with pytest.raises(BadRequest) as raised:
        parse([entry(path) for path in paths])
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
        parse([entry(path) for path in paths])
        refused = False
    except BadRequest:
        refused = True
    assert refused is clash


def test_paths_that_only_look_alike_are_different() -> None:
    paths = ["a", "A", "a.b", "a b", "ab/c", "a-/b", "é", "e\u0301"]
    assert [path for path, _ in parse([entry(path) for path in paths])] == paths


def test_a_large_and_deep_tree_is_a_tree() -> None:
    deep = json.dumps([entry(f"{n}/" + "d/" * 500 + "f", "") for n in range(2_000)])
    assert len(parse(deep)) == len(parse(in_file(deep, 10_000))) == 2_000


def test_a_long_run_of_backslashes_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read again for each piece, this took minutes and hundreds of MiB."""
    for count in (2**20, 2**20 + 1):
        text = '[{"path": "a", "content": "' + "A" * 2000 + "\\" * count + '"}]'
        with pytest.raises(BadRequest):
            parse(in_file(text, 10_000))
    with pytest.raises(BadRequest, match="more than 500000 JSON values"):
        parse(in_file("[" + '"a",' * 1_100_000 + "1]", 100_000))


def test_no_more_files_are_written_than_may_be(store: LocalBlobs) -> None:
    created: list[str] = []
    temporary = store.temporary
    store.temporary = lambda: created.append(temporary()) or created[-1]  # type: ignore
    with pytest.raises(TooLarge):
        store_tree(store, large(*(os.urandom(2000) for _ in range(20))), 3, nothing)
    assert len(created) <= 3


@pytest.mark.parametrize("value", ["[]", "{}", "0"])
def test_how_many_values_a_tree_in_a_file_may_have_is_bounded(value: str) -> None:
    more = "[" + ", ".join([value] * 500_001) + "]"
    text = '[{"path": "a", "content": "", "more": ' + more + "}]"
    for files in (text, in_file(text, 10_000)):
        with pytest.raises(BadRequest, match="more than 500000 JSON values"):
            parse(files)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["path", "content"]), inner),
    max_leaves=10,
)


@given(json_values | st.lists(st.fixed_dictionaries({"path": paths, "content": st.text()})))
@example([entry("\U0001f600" * 5)])
def test_anything_is_a_tree_or_refused_with_a_message(files: Any) -> None:
    def outcome(files: object) -> object:
        try:
            parsed = parse(files)
        except BadRequest as error:
            assert error.message
            return None
        for path, _ in parsed:
            check_path(path)
        return parsed

    expected = outcome(files)
    text = json.dumps(files)
    if "NaN" in text or "Infinity" in text:
        return  # no JSON
    assert outcome(text) == outcome(in_file(text)) == outcome(in_file(text, 1)) == expected


# Stored


@pytest.fixture
def store(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "files")


def kept(store: LocalBlobs) -> list[Path]:
    """Every file in the store."""
    return [path for path in store.folder.rglob("*") if path.is_file()]


def large(*contents: bytes) -> LongValue:
    files = [
        entry(str(number), base64.encodebytes(content).decode())
        for number, content in enumerate(contents)
    ]
    return in_file(json.dumps(files), 100_000)


def nothing(size: int) -> None:
    """No quota."""


@pytest.mark.parametrize("way", ["text", "file"])
def test_a_tree_is_stored(store: LocalBlobs, way: str) -> None:
    content = bytes(range(256)) * 5000
    files = json.dumps([entry("a", base64.b64encode(content).decode()), entry("b")])
    stored = store_tree(
        store, WAYS[way](files) if way == "text" else in_file(files, 9999), 2, nothing
    )
    assert [(file.path, file.size) for file in stored] == [("a", len(content)), ("b", 1)]
    assert [store.read(file.sha256) for file in stored if file.sha256] == [content, b"1"]
    assert stored[1].md5.hex() == "c4ca4238a0b923820dcc509a6f75849b"


@pytest.mark.parametrize("way", ["text", "file"])
@pytest.mark.parametrize("last", [entry("../x"), entry("0"), entry("x", "M"), {}])
def test_nothing_of_a_bad_tree_is_stored(store: LocalBlobs, way: str, last: dict[str, Any]) -> None:
    files = json.dumps([entry("0", base64.b64encode(b"x" * 2**21).decode()), entry("1"), last])
    with pytest.raises(BadRequest):
        store_tree(store, files if way == "text" else in_file(files, 9999), 9, nothing)
    assert kept(store) == []


@pytest.mark.parametrize("way", ["text", "file"])
def test_nothing_of_too_many_files_is_stored(store: LocalBlobs, way: str) -> None:
    files = json.dumps([entry("0"), entry("1"), entry("2")])
    with pytest.raises(TooLarge, match="There are 3 files; this service accepts 2 at once"):
        store_tree(store, WAYS[way](files), 2, nothing)
    bad = json.dumps([entry("0"), entry("1"), entry("../2")])
    with pytest.raises(BadRequest, match="Illegal path"):
        store_tree(store, WAYS[way](bad), 2, nothing)
    assert kept(store) == []


def test_a_file_for_which_there_is_no_room_is_not_written(
    store: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write = store.upload

    class Upload:
        def __init__(self) -> None:
            self.upload = write()

        def __enter__(self) -> Upload:
            return self

        def __exit__(self, *error: object) -> None:
            self.upload.__exit__(*error)

        def add(self, pieces: Iterator[bytes]) -> Any:
            blob = self.upload.add(pieces)
            written.append(blob.size)
            return blob

    monkeypatch.setattr(store, "upload", Upload)
    reservations = Reservations()

    def reserve(size: int) -> None:
        reservations.reserve("c", size, 0, 3 * 2**20)

    with pytest.raises(OverQuota):
        store_tree(store, large(b"x" * 2**20, b"y" * 2**20, b"z" * 2**20 + b"z"), 9, reserve)
    assert written == [2**20, 2**20]
    assert kept(store) == []


def test_uploads_in_progress_count_against_the_quota() -> None:
    reservations = Reservations()
    reservations.reserve("c", 60, 0, 100)
    reservations.reserve("other", 60, 0, 100)
    with pytest.raises(OverQuota):
        reservations.reserve("c", 41, 0, 100)
    reservations.reserve("c", 40, 0, 100)
    reservations.release("c", 60)
    reservations.reserve("c", 60, 0, 100)
