"""Every operation of the client, by the newest requests and by those of ngshare 0.6."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ngshare.exchange.client import ExchangeClient
from ngshare.exchange.service_error import ServiceError
from ngshare.protocol.overview import SubmissionInfo
from tests.exchange.clients import CuttingRelay, client_of, contents, local_tree
from tests.exchange.running_service import ADMIN, RunningService

RELEASE = {"p1.ipynb": b"{}", "ps1/ps1/x": b"deep", "data/\u00fc (1).csv": bytes(range(256)) * 99}
ClientOf = Callable[[str], ExchangeClient]


@pytest.fixture(params=["current", "compatible"])
def client(request: pytest.FixtureRequest, running: RunningService) -> ClientOf:
    """Return clients of a user, of which the compatible ones take the service for an old one."""

    def make(user: str) -> ExchangeClient:
        client, _ = client_of(running, user)
        client._is_older = request.param == "compatible"
        return client

    return make


@pytest.fixture
def course(running: RunningService, client: ClientOf, tmp_path: Path) -> RunningService:
    """A service with the course ``c`` and the release ``ps1``."""
    running.create_course("c", "ann", "bob")
    client("ada").release("c", "ps1", local_tree(tmp_path / "release", RELEASE))
    return running


def submit(client: ExchangeClient, folder: Path, files: dict[str, bytes]) -> str:
    return client.submit("c", "ps1", local_tree(folder, files), key=folder.name).timestamp


def test_a_release_is_fetched_as_it_was(
    course: RunningService, client: ClientOf, tmp_path: Path
) -> None:
    manifest = client("ann").fetch_release("c", "ps1", tmp_path / "x" / "ps1")
    assert contents(tmp_path / "x") == {f"ps1/{path}": each for path, each in RELEASE.items()}
    assert client("ann").release_manifest("c", "ps1").files == manifest.files
    assert client("ann").release_manifest("c", "ps1").digest == manifest.digest


def test_an_admin_sees_a_course_without_being_in_it(
    course: RunningService, client: ClientOf
) -> None:
    (seen,) = client(ADMIN).overview("c").courses
    assert [(each.name, each.submissions) for each in seen.assignments] == [("ps1", [])]


def test_a_release_is_there_once_unless_it_replaces(
    course: RunningService, client: ClientOf, tmp_path: Path
) -> None:
    changed = local_tree(tmp_path / "changed", {"p1.ipynb": b"new"})
    with pytest.raises(ServiceError, match="Assignment already exists"):
        client("ada").release("c", "ps1", changed)
    client("ada").release("c", "ps1", changed, replace=True)
    client("ada").release("c", "ps2", changed, replace=True)
    for name in ("ps1", "ps2"):
        client("ann").fetch_release("c", name, tmp_path / name)
        assert contents(tmp_path / name) == {"p1.ipynb": b"new"}
    client("ada").remove_assignment("c", "ps2")
    with pytest.raises(ServiceError, match="Assignment not found"):
        client("ann").fetch_release("c", "ps2", tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


def test_submissions_are_listed_and_fetched(
    course: RunningService, client: ClientOf, tmp_path: Path
) -> None:
    first = submit(client("ann"), tmp_path / "1", {"a": b"1"})
    second = submit(client("ann"), tmp_path / "2", {"a": b"2"})
    third = submit(client("bob"), tmp_path / "3", {"b": b"3"})
    ada = client("ada")

    def listed(**options: object) -> list[tuple[str, str, bool]]:
        infos = ada.collection("c", "ps1", **options)  # type: ignore[arg-type]
        return sorted((each.student, each.timestamp, each.late) for each in infos)

    assert listed() == [("ann", second, False), ("bob", third, False)]
    assert listed(every=True) == [
        ("ann", first, False),
        ("ann", second, False),
        ("bob", third, False),
    ]
    assert listed(student="ann") == [("ann", second, False)]
    assert listed(before=first) == [("ann", first, False), ("bob", third, True)]
    fetched = ada.fetch_submission("c", "ps1", "ann", first, tmp_path / "got")
    assert contents(tmp_path / "got") == {"a": b"1"}
    assert fetched.digest == local_tree(tmp_path / "1", {}).digest


def test_many_submissions_are_placed_one_after_the_other(
    course: RunningService, client: ClientOf, tmp_path: Path
) -> None:
    submit(client("ann"), tmp_path / "1", {"a/b": b"1", "empty": b""})
    submit(client("bob"), tmp_path / "2", {"b": b"2" * 300_000})
    ada = client("ada")

    def place(submission: SubmissionInfo, folder: Path) -> None:
        folder.rename(tmp_path / "placed" / submission.student)

    (tmp_path / "placed").mkdir()
    ada.fetch_submissions("c", "ps1", ada.collection("c", "ps1"), place, parent=tmp_path / "placed")
    assert contents(tmp_path / "placed") == {
        "ann/a/b": b"1",
        "ann/empty": b"",
        "bob/b": b"2" * 300_000,
    }
    assert {path.name for path in (tmp_path / "placed").iterdir()} == {"ann", "bob"}


def test_feedback_is_given_replaced_and_fetched(
    course: RunningService, client: ClientOf, tmp_path: Path
) -> None:
    time = submit(client("ann"), tmp_path / "1", {"a": b"1"})
    for number, files in enumerate([{"p1.html": b"good"}, {"p1.html": b"better"}]):
        tree = local_tree(tmp_path / f"feedback{number}", files)
        client("ada").give_feedback("c", "ps1", "ann", time, tree)
    client("ann").fetch_feedback("c", "ps1", "ann", time, tmp_path / "got")
    assert contents(tmp_path / "got") == {"p1.html": b"better"}
    with pytest.raises(ServiceError, match="Permission denied"):
        client("bob").fetch_feedback("c", "ps1", "ann", time, tmp_path / "not")
    (info,) = client("ann").overview("c").courses[0].assignments[0].submissions
    assert info.timestamp == time
    assert info.feedback is not None
    assert list(info.feedback.files) == ["p1.html"]


def test_the_overview_has_the_courses_of_the_caller(
    course: RunningService, client: ClientOf, tmp_path: Path
) -> None:
    course.create_course("d", "bob", instructors=("ann",))
    submit(client("ann"), tmp_path / "1", {"a": b"1"})
    overview = client("ann").overview()
    assert overview.user == "ann"
    assert [(each.name, each.role) for each in overview.courses] == [
        ("c", "student"),
        ("d", "instructor"),
    ]
    (ps1,) = overview.courses[0].assignments
    assert (ps1.name, ps1.files, ps1.notebooks) == ("ps1", 3, ["p1.ipynb"])
    assert len(ps1.submissions) == 1
    assert [each.name for each in client("bob").overview("c", "ps1").courses] == ["c"]
    with pytest.raises(ServiceError, match="Assignment not found"):
        client("bob").overview("c", "ps2")


def test_courses_and_their_members(running: RunningService, client: ClientOf) -> None:
    admin = client(ADMIN)
    admin.create_course("c d", ["ada"])
    admin.put_instructor("c d", "bea", "Bea", "B", "b@x")
    ada = client("ada")
    ada.put_student("c d", "ann", "Ann", "A", "")
    person = {"username": "bob", "first_name": "B", "last_name": "", "email": ""}
    assert ada.put_students("c d", [person, {**person, "username": "bea"}]) == [
        ("bea", "Cannot add instructor as student")
    ]
    assert sorted(str(each["username"]) for each in ada.instructors("c d")) == ["ada", "bea"]
    assert sorted(str(each["username"]) for each in ada.students("c d")) == ["ann", "bob"]
    ada.remove_student("c d", "bob")
    admin.remove_instructor("c d", "bea")
    assert [each["username"] for each in ada.students("c d")] == ["ann"]
    assert ada.courses() == ["c d"]
    admin.remove_course("c d")
    assert ada.courses() == []
    ada.health()


def test_a_service_that_is_older_is_asked_in_vain_once(
    running: RunningService, tmp_path: Path
) -> None:
    running.create_course("c", "ann")
    client, connection = client_of(running, "ada")
    real = connection.request_json

    def without_new(method: str, *path: str, **options: object) -> object:
        if path[0] in ("tree", "overview", "collection", "manifest", "archive", "content"):
            raise ServiceError("There is no exchange", 404, unknown_path=True)
        return real(method, *path, **options)

    connection.request_json = without_new  # type: ignore[method-assign, assignment]
    client.release("c", "ps1", local_tree(tmp_path / "r", RELEASE))
    client.overview()
    client.collection("c", "ps1")
    assert not any("overview" in each or "collection" in each for each in connection.requests)
    assert connection.requests[0] == "POST assignment/c"


def test_a_course_that_does_not_exist_is_not_taken_for_an_older_service(
    running: RunningService,
) -> None:
    client, connection = client_of(running, "ann")
    with pytest.raises(ServiceError, match="Course not found"):
        client.collection("none", "ps1")
    assert len(connection.requests) == 1
    assert not client._is_older


@pytest.mark.parametrize("passed", [100, 400_000, 1_500_000])
def test_a_download_that_breaks_is_completed(
    running: RunningService, tmp_path: Path, passed: int
) -> None:
    noise = random.Random(1).randbytes(2_000_000)
    files = {"a": b"1", "big": noise[:900_000], "bigger": noise[900_000:], "z/last": b"2"}
    running.create_course("c", "ann")
    ada, _ = client_of(running, "ada")
    ada.release("c", "ps1", local_tree(tmp_path / "release", files))
    relay = CuttingRelay()
    relay.target = int(running.url.split(":")[2].partition("/")[0])
    try:
        relay.passed = passed
        client, connection = client_of(relay, "ann")
        client.fetch_release("c", "ps1", tmp_path / "got" / "ps1")
    finally:
        relay.refuse()
    assert relay.passed is None
    assert contents(tmp_path / "got") == {f"ps1/{path}": each for path, each in files.items()}
    fetched = [each for each in connection.requests if each == "GET content/assignment"]
    assert len(fetched) == (2 if passed > 900_000 else 3 if passed > 1000 else 4)
