"""Replies of a service that must not choose where the plugin writes."""

from __future__ import annotations

from typing import Any

import pytest

from ngshare.exchange.replies import check_time, parse_collection, parse_overview
from ngshare.exchange.service_error import ServiceError

TIME = "2026-01-01 00:00:00.000000 UTC"


def submission(**fields: Any) -> dict[str, Any]:
    described = {"digest": "", "files": 0, "bytes": 0, "notebooks": []}
    return {"student_id": "ann", "timestamp": TIME, **described, **fields}


def feedback(path: str) -> dict[str, Any]:
    return {"digest": "", "files": [{"path": path, "sha256": ""}]}


@pytest.mark.parametrize(
    "fields",
    [
        {"timestamp": "/home/ann"},
        {"timestamp": f"{TIME}/../.."},
        {"timestamp": None},
        {"student_id": "a/../../b"},
        {"student_id": 1},
        {"feedback": feedback("../.bashrc")},
        {"feedback": feedback("/etc/passwd")},
    ],
)
def test_a_submission_that_leads_elsewhere_is_refused(fields: dict[str, Any]) -> None:
    assert parse_collection({"submissions": [submission()]})
    with pytest.raises(ServiceError, match="makes no sense"):
        parse_collection({"submissions": [submission(**fields)]})


@pytest.mark.parametrize("course", ["/tmp/evil", "a/b", "", 7])
def test_a_course_that_leads_elsewhere_is_refused(course: object) -> None:
    reply = {"user": "ann", "admin": False, "version": "1", "time": TIME}
    with pytest.raises(ServiceError, match="makes no sense"):
        parse_overview({**reply, "courses": [{"name": course, "role": None, "assignments": []}]})


def test_a_time_of_a_reply_is_a_time() -> None:
    assert check_time(TIME) == TIME
    with pytest.raises(ServiceError):
        check_time("x/../../Documents")
