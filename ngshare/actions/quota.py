"""How many bytes a course may keep, and how many it does.

Counted are all of its trees, also those that were replaced or whose assignment was
removed, until they are purged: they can be restored. Equal files of two trees count
twice, though they are stored once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, bindparam, func, select

from ngshare.actions import access
from ngshare.actions.access import Caller, Capability
from ngshare.actions.locks import lock
from ngshare.db.models import Course, Tree
from ngshare.errors import OverQuota

P = ParamSpec("P")
T = TypeVar("T")
Change = Callable[Concatenate[Connection, Caller, str, P], T]

_USED = select(func.coalesce(func.sum(Tree.size), 0)).where(
    Tree.course_id == bindparam("course_id")
)


def usage(connection: Connection, caller: Caller, course: str) -> int:
    """How many bytes the course keeps; for instructors."""
    found = access.require(connection, caller, course, Capability.AUDIT)
    return _used(connection, found.course_id)


def check_room(connection: Connection, caller: Caller, course: str, quota: int) -> int:
    """Return how many bytes the course keeps. Raises OverQuota when these are ``quota`` already."""
    used = _used(connection, access.look_up(connection, caller, course).course_id)
    if used >= quota:
        raise over_quota(course, quota)
    return used


def within(quota: int | None, change: Change[P, T]) -> Change[P, T]:
    """The same change, undone when the course keeps more than ``quota`` bytes after it.

    Changes of one course take turns then: two at once would each add up the bytes of the
    course without those of the other, and a class that submits together would have no limit.
    """
    if quota is None:
        return change

    def run(
        connection: Connection, caller: Caller, course: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        course_id = access.look_up(connection, caller, course).course_id
        # Before the change, which locks what comes after a course in the order of locks.
        lock(connection, Course, course_id)
        result = change(connection, caller, course, *args, **kwargs)
        if _used(connection, course_id) > quota:
            raise over_quota(course, quota)
        return result

    return run


def _used(connection: Connection, course_id: int) -> int:
    used: int = connection.execute(_USED, {"course_id": course_id}).scalar_one()
    return int(used)  # PostgreSQL's sum is a decimal


def over_quota(course: str, quota: int) -> OverQuota:
    """Return the error for a request that would make a course keep more than ``quota`` bytes."""
    return OverQuota(
        f"The course {course} has used up its {quota // 2**20} MiB on the exchange, so nothing "
        "of this request was stored. Please ask the course's instructor, or an administrator "
        "of this JupyterHub, to make room"
    )
