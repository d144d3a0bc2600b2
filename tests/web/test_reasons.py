"""In debug mode, and only there, "Permission denied" says why."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Api, tree
from tests.web.world import (
    ASSIGNMENT,
    CLASSMATE,
    COURSE,
    FIRST,
    INSTRUCTOR,
    OUTSIDER,
    STRANGER,
    STUDENT,
)

pytestmark = [pytest.mark.gen_test, pytest.mark.usefixtures("debug")]

NOT_ADMIN = "not admin"
NOT_INSTRUCTOR = "not course instructor"
NOT_RELATED = "not related to course"

PERSON = {"first_name": "", "last_name": "", "email": ""}
FILES = {"files": tree(a="1")}

OTHERS = [CLASSMATE, STRANGER, OUTSIDER]

DENIED: list[tuple[str, tuple[str, ...], dict[str, str], list[str], str]] = [
    ("POST", ("course", "New"), {}, [STRANGER, STUDENT, INSTRUCTOR], NOT_ADMIN),
    ("DELETE", ("course", COURSE), {}, [STRANGER, STUDENT, INSTRUCTOR], NOT_ADMIN),
    ("DELETE", ("instructor", COURSE, INSTRUCTOR), {}, [STRANGER, INSTRUCTOR], NOT_ADMIN),
    ("POST", ("instructor", COURSE, STUDENT), PERSON, [STRANGER, STUDENT], NOT_INSTRUCTOR),
    ("POST", ("student", COURSE, STUDENT), PERSON, [STRANGER, STUDENT], NOT_INSTRUCTOR),
    ("DELETE", ("student", COURSE, STUDENT), {}, [STRANGER, STUDENT], NOT_INSTRUCTOR),
    ("POST", ("students", COURSE), {}, [OUTSIDER, STUDENT], NOT_INSTRUCTOR),
    ("GET", ("students", COURSE), {}, [OUTSIDER, STUDENT], NOT_INSTRUCTOR),
    ("POST", ("assignment", COURSE, "new"), FILES, [OUTSIDER, STUDENT], NOT_INSTRUCTOR),
    ("DELETE", ("assignment", COURSE, ASSIGNMENT), {}, [OUTSIDER, STUDENT], NOT_INSTRUCTOR),
    ("GET", ("submissions", COURSE, ASSIGNMENT), {}, [OUTSIDER, STUDENT], NOT_INSTRUCTOR),
    ("GET", ("submission", COURSE, ASSIGNMENT, STUDENT), {}, [OUTSIDER, STUDENT], NOT_INSTRUCTOR),
    ("POST", ("feedback", COURSE, ASSIGNMENT, STUDENT), FILES, [STUDENT], NOT_INSTRUCTOR),
    ("GET", ("instructors", COURSE), {}, [STRANGER, OUTSIDER], NOT_RELATED),
    ("GET", ("instructor", COURSE, INSTRUCTOR), {}, [STRANGER, OUTSIDER], NOT_RELATED),
    ("GET", ("assignments", COURSE), {}, [STRANGER, OUTSIDER], NOT_RELATED),
    ("GET", ("assignment", COURSE, ASSIGNMENT), {}, [STRANGER, OUTSIDER], NOT_RELATED),
    ("POST", ("submission", COURSE, ASSIGNMENT), FILES, [STRANGER, OUTSIDER], NOT_RELATED),
    # "Instructor, or U": deployed 0.6 gives this reason to those outside of the course, too.
    ("GET", ("student", COURSE, STUDENT), {}, OTHERS, NOT_INSTRUCTOR),
    ("GET", ("submissions", COURSE, ASSIGNMENT, STUDENT), {}, OTHERS, NOT_INSTRUCTOR),
    (
        "GET",
        ("feedback", COURSE, ASSIGNMENT, STUDENT),
        {"timestamp": FIRST},
        OTHERS,
        NOT_INSTRUCTOR,
    ),
]


@pytest.fixture(params=[True, False], ids=["debug", "production"])
def debug(request: Any) -> bool:
    return bool(request.param)


@pytest.mark.parametrize(
    ("method", "path", "fields", "users", "reason"),
    DENIED,
    ids=[f"{method} {path[0]}/{len(path) - 1}" for method, path, *_ in DENIED],
)
async def test_a_permission_that_is_denied(
    api: Api,
    debug: bool,
    method: str,
    path: tuple[str, ...],
    fields: dict[str, str],
    users: list[str],
    reason: str,
) -> None:
    send = {"GET": api.get, "POST": api.post, "DELETE": api.delete}[method]
    expected = f"Permission denied ({reason})" if debug else "Permission denied"
    for user in users:
        reply = await send(*path, user=user, **fields)
        assert reply.failure == (403, expected), user


async def test_about_instructors_the_reason_is_always_given(api: Api) -> None:
    for username, reason in (
        ("ian", "cannot modify other instructors"),
        (STUDENT, "cannot modify instructors"),
    ):
        reply = await api.post("instructor", COURSE, username, user=INSTRUCTOR, **PERSON)
        assert reply.failure == (400, f"Permission denied ({reason})")


async def test_what_is_not_found_has_no_reason(api: Api) -> None:
    reply = await api.get("assignments", "No such course", user=STRANGER)
    assert reply.failure == (404, "Course not found")
