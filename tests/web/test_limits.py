"""Limits: how many files, how much room, how many requests; each says what to do."""

from __future__ import annotations

from typing import Any

import pytest

from ngshare.actions import debug_records
from ngshare.db.transactions import Database
from ngshare.errors import TooManyRequests
from ngshare.web.rate_limit import RateLimit
from ngshare.web.service import Service
from tests.conftest import ADMIN, Api, tree
from tests.web.world import (
    ASSIGNMENT,
    CLASSMATE,
    COURSE,
    FIRST,
    INSTRUCTOR,
    OTHER_COURSE,
    OUTSIDER,
    STUDENT,
)

UPLOADS: list[tuple[str, tuple[str, ...], str, dict[str, str]]] = [
    ("submission", (COURSE, ASSIGNMENT), STUDENT, {}),
    ("assignment", (COURSE, "new"), INSTRUCTOR, {}),
    ("feedback", (COURSE, ASSIGNMENT, STUDENT), INSTRUCTOR, {"timestamp": FIRST}),
]
"""Every request that sends files: what, where, who, and its other fields."""

uploads = pytest.mark.parametrize(("what", "where", "who", "more"), UPLOADS)


# Files of a tree


@uploads
@pytest.mark.gen_test
async def test_too_many_files(
    api: Api,
    service: Service,
    what: str,
    where: tuple[str, ...],
    who: str,
    more: dict[str, str],
) -> None:
    service.max_files = 2
    reply = await api.post(what, *where, user=who, files=tree(a="1", b="2", c="3"), **more)
    assert reply.failure == (413, "There are 3 files; this service accepts 2 at once")
    reply = await api.post(what, *where, user=who, files=tree(a="1", b="2"), **more)
    assert reply.status == 200


@pytest.mark.gen_test
async def test_what_is_wrong_with_files_comes_first(api: Api, service: Service) -> None:
    service.max_files = 1
    files = tree(a="1", **{"../b": "2"})
    reply = await api.post("submission", COURSE, ASSIGNMENT, user=STUDENT, files=files)
    assert reply.failure == (400, "Illegal path")


# Room of a course


@uploads
@pytest.mark.gen_test
async def test_a_course_without_room_takes_no_more_files(
    api: Api,
    service: Service,
    database: Database,
    what: str,
    where: tuple[str, ...],
    who: str,
    more: dict[str, str],
) -> None:
    used = (await api.get("usage", COURSE, user=INSTRUCTOR)).json["bytes"]
    service.max_course_bytes = used + 2**20
    before = database.read(debug_records.dump_records)
    for content in (b"x" * (2**20 + 1), b"y" * 2 * 2**20):
        reply = await api.post(what, *where, user=who, files=tree(a=content), **more)
        assert reply.status == 507
        assert reply.message.startswith(f"The course {COURSE} has used up its 1 MiB")
        assert "ask the course's instructor, or an administrator" in reply.message
    assert database.read(debug_records.dump_records) == before
    reply = await api.post(what, *where, user=who, files=tree(a=b"x" * 2**20), **more)
    assert reply.status == 200
    usage = (await api.get("usage", COURSE, user=INSTRUCTOR)).json
    assert usage == {"success": True, "bytes": used + 2**20, "quota": used + 2**20}


@pytest.mark.gen_test
async def test_when_there_is_no_room_at_all_nothing_is_stored_not_even_for_a_moment(
    api: Api, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.max_course_bytes = 1
    monkeypatch.setattr(service.blobs, "put", lambda contents: pytest.fail("it was stored"))
    reply = await api.post("submission", COURSE, ASSIGNMENT, user=STUDENT, files=tree(a="1"))
    assert reply.status == 507


@pytest.mark.gen_test
async def test_a_course_without_room_can_be_read_and_cleared_up(api: Api, service: Service) -> None:
    service.max_course_bytes = 1
    assert (await api.get("assignment", COURSE, ASSIGNMENT, user=STUDENT)).status == 200
    assert (await api.get("submission", COURSE, ASSIGNMENT, STUDENT, user=INSTRUCTOR)).status == 200
    assert (await api.delete("assignment", COURSE, ASSIGNMENT, user=INSTRUCTOR)).status == 200


@pytest.mark.gen_test
async def test_each_course_has_its_own_room(api: Api, service: Service) -> None:
    service.max_course_bytes = 2000
    files = tree(a=b"x" * 1900)
    assert (await api.post("assignment", COURSE, "a", user=INSTRUCTOR, files=files)).status == 200
    assert (await api.post("assignment", COURSE, "b", user=INSTRUCTOR, files=files)).status == 507
    reply = await api.post("assignment", OTHER_COURSE, "a", user=OUTSIDER, files=files)
    assert reply.status == 200


@pytest.mark.gen_test
async def test_whoever_may_not_is_refused_for_that(api: Api, service: Service) -> None:
    service.max_course_bytes = 1
    reply = await api.post("submission", COURSE, ASSIGNMENT, user=OUTSIDER, files=tree(a="1"))
    assert reply.failure == (403, "Permission denied")


# Requests of a user


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def sent(rate: RateLimit, user: str, count: int) -> int:
    """How many of so many requests are let through."""
    passed = 0
    for _ in range(count):
        try:
            rate.count(user)
        except TooManyRequests:
            continue
        passed += 1
    return passed


def test_so_many_requests_at_once_and_as_many_again_in_a_minute() -> None:
    clock = Clock()
    rate = RateLimit(60, clock)
    assert sent(rate, "sam", 100) == 60
    assert sent(rate, "sue", 100) == 60
    clock.now += 10
    assert sent(rate, "sam", 100) == 10
    clock.now += 3600
    assert sent(rate, "sam", 100) == 60


def test_who_waits_as_long_as_told_gets_through() -> None:
    for per_minute in (1, 7, 60, 1000):
        clock = Clock()
        rate = RateLimit(per_minute, clock)
        assert sent(rate, "sam", per_minute) == per_minute
        for _ in range(5):
            with pytest.raises(TooManyRequests) as refused:
                rate.count("sam")
            assert refused.value.retry_after is not None
            clock.now += refused.value.retry_after
            assert sent(rate, "sam", 1) == 1
            sent(rate, "sam", per_minute)


def test_the_count_of_few_users_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ngshare.web.rate_limit.USERS", 2)
    rate = RateLimit(1, Clock())
    for user in ("sam", "sue", "sam", "zoe"):
        sent(rate, user, 1)
    assert sent(rate, "sam", 1) == 0
    assert sent(rate, "sue", 1) == 1


def test_whether_there_were_too_many_can_be_asked_without_counting() -> None:
    clock = Clock()
    rate = RateLimit(2, clock)
    for _ in range(5):
        rate.check("sam")
    assert sent(rate, "sam", 5) == 2
    with pytest.raises(TooManyRequests) as refused:
        rate.check("sam")
    assert refused.value.retry_after == 30
    rate.check("sue")
    clock.now += 30
    rate.check("sam")
    RateLimit(0).check("sam")


def test_without_a_limit_nothing_is_counted() -> None:
    assert sent(RateLimit(0), "sam", 10_000) == 10_000


@pytest.mark.gen_test
async def test_too_many_requests(api: Api, service: Service) -> None:
    service.rate = RateLimit(2, Clock())
    assert (await api.get("courses", user=STUDENT)).status == 200
    assert (await api.get("no such path", user=STUDENT)).status == 404
    assert (await api.get("assignments", COURSE, user=STUDENT)).status == 200
    reply: Any = await api.get("courses", user=STUDENT)
    assert reply.failure == (429, "More than 2 requests in a minute; please wait")
    assert int(reply.headers["Retry-After"]) == 30
    assert (await api.get("courses", user=CLASSMATE)).status == 200
    assert (await api.get("healthz", user=ADMIN)).status == 200
