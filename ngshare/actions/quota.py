"""Limit the bytes that a course stores.

Every tree of a course counts, also replaced ones and those of removed assignments, until they are
purged, because they can be restored. Equal files of two trees count twice, though they are stored
once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, bindparam, func, select

from ngshare.actions.access import Caller, Capability, get_access, require_capability
from ngshare.actions.locks import lock_row
from ngshare.db.models import Course, Tree
from ngshare.errors import OverQuota

P = ParamSpec("P")
T = TypeVar("T")
Action = Callable[Concatenate[Connection, Caller, str, P], T]

_USAGE = select(func.coalesce(func.sum(Tree.size), 0)).where(
    Tree.course_id == bindparam("course_id")
)


def get_usage(connection: Connection, caller: Caller, course: str) -> int:
    """Return the bytes that the course stores; for instructors."""
    access = require_capability(connection, caller, course, Capability.AUDIT)
    return sum_sizes(connection, access.course_id)


def require_quota_left(connection: Connection, caller: Caller, course: str, quota: int) -> int:
    """Return the bytes that the course stores. Raise OverQuota if they reach ``quota`` (bytes).

    Checks no permission.
    """
    usage = sum_sizes(connection, get_access(connection, caller, course).course_id)
    if usage >= quota:
        raise over_quota(course, quota)
    return usage


def enforce_quota(quota: int | None, action: Action[P, T]) -> Action[P, T]:
    """Return an action that raises OverQuota if the course exceeds ``quota`` (bytes) after it.

    The action's arguments begin with connection, caller and course. Such actions on one course
    run one after the other: two at the same time would each not count the other's bytes, and a
    class that submits together would have no limit. Without a quota (None), the action itself
    is returned.
    """
    if quota is None:
        return action

    def run(
        connection: Connection, caller: Caller, course: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        course_id = get_access(connection, caller, course).course_id
        # Before the action, which takes locks that come after a course's in the order of locks.
        lock_row(connection, Course, course_id)
        result = action(connection, caller, course, *args, **kwargs)
        if sum_sizes(connection, course_id) > quota:
            raise over_quota(course, quota)
        return result

    return run


def over_quota(course: str, quota: int) -> OverQuota:
    """Return the error for a request that would make a course store more than ``quota`` bytes."""
    return OverQuota(
        f"The course {course} has used up its {quota // 2**20} MiB on the exchange, so nothing "
        "of this request was stored. Please ask the course's instructor, or an administrator "
        "of this JupyterHub, to make room"
    )


def sum_sizes(connection: Connection, course_id: int) -> int:
    """Return the bytes that a course stores."""
    usage: int = connection.execute(_USAGE, {"course_id": course_id}).scalar_one()
    return int(usage)  # PostgreSQL's sum is a decimal
