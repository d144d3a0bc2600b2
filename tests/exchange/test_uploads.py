"""Trees of which only the missing files are sent, to a real service."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from ngshare.exchange.connection import Connection
from ngshare.exchange.service_error import ServiceError
from ngshare.protocol.manifests import PART_SIZE
from tests.exchange.clients import LosingRelay, client_of, local_tree
from tests.exchange.running_service import RunningService

NGINX_LIMIT = 2**20
NOISE = random.Random(1).randbytes(4_300_000)
RELEASE = {"p1.ipynb": b"{}", "data.bin": NOISE[:200_000]}


@pytest.fixture
def course(running: RunningService) -> RunningService:
    running.create_course("c", "ann")
    running.release("c", "ps1", RELEASE)
    running.requests.clear()
    return running


@pytest.fixture
def relay(course: RunningService) -> Iterator[LosingRelay]:
    relay = LosingRelay()
    relay.target = int(course.url.split(":")[2].partition("/")[0])
    yield relay
    relay.refuse()


def test_a_small_tree_is_one_request(course: RunningService, tmp_path: Path) -> None:
    files = {"p1.ipynb": b"{1}", "ü (1)/a b.txt": b"x", "empty": b""}
    client, connection = client_of(course, "ann")
    submitted = client.submit("c", "ps1", local_tree(tmp_path / "t", files), key="k")
    assert connection.requests == ["POST tree/submission"]
    assert course.submissions("c", "ps1", "ann") == [files]
    (row,) = course.call("GET", "submissions", "c", "ps1", "ann")["submissions"]
    assert submitted.timestamp == row["timestamp"]


def test_only_what_changed_is_sent_again(course: RunningService, tmp_path: Path) -> None:
    client, connection = client_of(course, "ann")
    files = {**RELEASE, "p1.ipynb": NOISE[:60_000]}
    first = local_tree(tmp_path / "t", files)
    client.submit("c", "ps1", first, key="1")
    files["p1.ipynb"] = NOISE[:60_001]
    second = local_tree(tmp_path / "t", files)
    client.submit("c", "ps1", second, key="2", known={file.sha256 for file in first.files})
    assert connection.requests == ["POST tree/submission"] * 2
    assert len(connection.sent[1][1]) < 61_000
    assert course.submissions("c", "ps1", "ann")[1] == files


def test_files_that_the_service_lacks_after_all_are_sent(
    course: RunningService, tmp_path: Path
) -> None:
    client, connection = client_of(course, "ann")
    files = {"a": b"never sent", "b": b"nor this", "large": NOISE[: PART_SIZE + 5]}
    tree = local_tree(tmp_path / "t", files)
    client.submit("c", "ps1", tree, key="k", known={file.sha256 for file in tree.files})
    assert connection.requests == [
        "POST tree/submission",
        "POST tree/missing",
        *["PUT part/c"] * 2,
        "POST tree/submission",
    ]
    assert course.submissions("c", "ps1", "ann") == [files]


def test_a_large_tree_asks_first_and_sends_parts(course: RunningService, tmp_path: Path) -> None:
    client, connection = client_of(course, "ann")
    files = {**RELEASE, "large": NOISE[: 2 * PART_SIZE + 1], "again": NOISE[: 2 * PART_SIZE + 1]}
    client.submit("c", "ps1", local_tree(tmp_path / "t", files), key="k")
    assert connection.requests == [
        "POST tree/missing",
        *["PUT part/c"] * 3,
        "POST tree/submission",
    ]
    assert course.submissions("c", "ps1", "ann") == [files]


def test_unchanged_data_of_a_release_is_never_sent(course: RunningService, tmp_path: Path) -> None:
    files = {"p1.ipynb": b"{}", "data.bin": NOISE}
    ada, _ = client_of(course, "ada")
    ada.release("c", "big", local_tree(tmp_path / "r", files))
    ann, connection = client_of(course, "ann")
    files["p1.ipynb"] = b"{1}"
    ann.submit("c", "big", local_tree(tmp_path / "t", files), key="k")
    assert course.submissions("c", "big", "ann") == [files]
    assert sum(len(body) for _, body in connection.sent) < 1000


def test_an_interrupted_upload_goes_on_where_it_stopped(
    course: RunningService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = local_tree(tmp_path / "t", {"large": NOISE})
    client, connection = client_of(course, "ann")
    real = Connection.request
    parts = iter("123")

    def fail_after_three(self: Connection, method: str, *path: str, **options: object) -> object:
        if method == "PUT" and next(parts, None) is None:
            raise ServiceError("killed here")
        return real(self, method, *path, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "request", fail_after_three)
        with pytest.raises(ServiceError, match="killed here"):
            client.submit("c", "ps1", tree, key="k")
    assert course.submissions("c", "ps1", "ann") == []
    connection.sent.clear()
    client.submit("c", "ps1", tree, key="k")
    assert connection.requests == [
        "POST tree/missing",
        *["PUT part/c"] * 2,
        "POST tree/submission",
    ]
    assert course.submissions("c", "ps1", "ann") == [{"large": NOISE}]


def test_every_body_is_below_the_limit_of_a_proxy(course: RunningService, tmp_path: Path) -> None:
    # The manifest of these is 100 kB long, and their contents are just below the limit.
    files = {
        "/".join(NOISE[at : at + 100].hex() for at in range(n * 900, n * 900 + 900, 100)): NOISE[
            n * 16_500 : (n + 1) * 16_500
        ]
        for n in range(60)
    }
    files["exact"] = NOISE[:PART_SIZE]
    files["more"] = NOISE[1 : PART_SIZE + 2]
    client, connection = client_of(course, "ann")
    client.submit("c", "ps1", local_tree(tmp_path / "t", files), key="k")
    assert max(len(body) for _, body in connection.sent) < NGINX_LIMIT
    assert course.submissions("c", "ps1", "ann") == [files]


def test_what_is_smaller_compressed_is_compressed(course: RunningService, tmp_path: Path) -> None:
    client, connection = client_of(course, "ann")
    files = {"a": b"abc" * 100_000, "large": bytes(3 * PART_SIZE)}
    client.submit("c", "ps1", local_tree(tmp_path / "t", files), key="k")
    assert sum(len(body) for _, body in connection.sent) < 20_000
    assert course.submissions("c", "ps1", "ann") == [files]


@pytest.mark.parametrize("lost", [1, 2])
def test_a_reply_that_is_lost_makes_one_submission(
    course: RunningService,
    relay: LosingRelay,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lost: int,
) -> None:
    monkeypatch.setattr("ngshare.exchange.connection.random.uniform", lambda *_: 0.01)
    client, _ = client_of(relay, "ann")
    relay.lost = lost
    submitted = client.submit("c", "ps1", local_tree(tmp_path / "t", {"a": b"1"}), key="k")
    assert relay.lost == 0
    assert course.requests.count("POST /api/tree/submission/c/ps1") == lost + 1
    (row,) = course.call("GET", "submissions", "c", "ps1", "ann")["submissions"]
    assert submitted.timestamp == row["timestamp"]


def test_a_lost_connection_in_the_middle_of_parts(
    course: RunningService,
    relay: LosingRelay,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ngshare.exchange.connection.random.uniform", lambda *_: 0.01)
    client, connection = client_of(relay, "ann")
    real = connection.request_json

    def lose(method: str, *path: str, **options: object) -> dict[str, object]:
        if method == "PUT":
            relay.drop()
            relay.lost = 1
        return real(method, *path, **options)

    monkeypatch.setattr(connection, "request_json", lose)
    client.submit("c", "ps1", local_tree(tmp_path / "t", {"large": NOISE}), key="k")
    assert course.submissions("c", "ps1", "ann") == [{"large": NOISE}]


def test_another_key_is_another_submission(course: RunningService, tmp_path: Path) -> None:
    client, _ = client_of(course, "ann")
    tree = local_tree(tmp_path / "t", {"a": b"1"})
    first = client.submit("c", "ps1", tree, key="1")
    assert client.submit("c", "ps1", tree, key="1") == first
    assert client.submit("c", "ps1", tree, key="2").timestamp > first.timestamp
    assert len(course.submissions("c", "ps1", "ann")) == 2


@pytest.mark.parametrize("size", [3, PART_SIZE + 3])
def test_a_file_that_changes_while_it_is_sent_is_not_stored(
    course: RunningService, tmp_path: Path, size: int
) -> None:
    client, _ = client_of(course, "ann")
    tree = local_tree(tmp_path / "t", {"a": b"1", "b": NOISE[:size]})
    (tmp_path / "t" / "b").write_bytes(NOISE[1 : size + 1])
    with pytest.raises(ServiceError, match="The file b changed while it was sent"):
        client.submit("c", "ps1", tree, key="k")
    assert course.submissions("c", "ps1", "ann") == []


def test_a_refusal_of_the_service_is_said_in_its_words(
    course: RunningService, tmp_path: Path
) -> None:
    client, _ = client_of(course, "eve")
    with pytest.raises(ServiceError, match="Permission denied"):
        client.submit("c", "ps1", local_tree(tmp_path / "t", {"a": b"1"}), key="k")
    client, _ = client_of(course, "ann")
    with pytest.raises(ServiceError, match="Assignment not found"):
        client.submit("c", "ps2", local_tree(tmp_path / "t", {"a": b"1"}), key="k")
