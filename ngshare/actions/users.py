"""Users: who was seen, and which members of courses may never be, because of their names.

A user exists from the first request, or from the first time that somebody names them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from ngshare.actions import access, audit
from ngshare.actions.access import Caller
from ngshare.db.models import Course, Membership, User
from ngshare.protocol.usernames import name_key, name_warnings

CHUNK = 500
"""How many names one IN list holds; old SQLite takes 999 parameters at most."""

_FIRST_SEEN = select(User.first_seen_at).where(User.name == bindparam("name"))


@dataclass(frozen=True, slots=True)
class OddName:
    """A name of no user who was ever seen, and why it may stay so, as phrases that follow it."""

    username: str
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a course, and when they first sent a request (UTC; None: never).

    Of one never seen, ``warnings`` say why the name may be no user's, and ``similar`` are the
    names of users who were seen and differ only in blanks, case or Unicode form.
    """

    course: str
    username: str
    role: str
    first_seen_at: datetime | None
    warnings: list[str]
    similar: list[str]


def was_seen(connection: Connection, name: str) -> bool:
    """Return whether a user of this name ever sent a request."""
    return connection.scalar(_FIRST_SEEN, {"name": name}) is not None


def see(connection: Connection, name: str) -> None:
    """Record that a user sent a first request."""
    user_ids(connection, [name])
    connection.execute(
        update(User)
        .where(User.name == name, User.first_seen_at.is_(None))
        .values(first_seen_at=audit.now())
    )


def user_ids(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """Return the ids of these users. Those named for the first time are added."""
    wanted = list(dict.fromkeys(names))
    found: dict[str, int] = {}
    for chunk in chunks(wanted):
        rows = connection.execute(select(User.name, User.id).where(User.name.in_(chunk)))
        found.update((name, user_id) for name, user_id in rows)
    missing = [name for name in wanted if name not in found]
    if missing:
        # In one order: two that insert the same names in different orders wait for each other.
        rows = connection.execute(
            insert(User).returning(User.name, User.id), [{"name": name} for name in sorted(missing)]
        )
        found.update((name, user_id) for name, user_id in rows)
    return found


def find_odd_names(connection: Connection, caller: Caller, names: Sequence[str]) -> list[OddName]:
    """Return those of these names that may match no user, in their order.

    For whoever may add them: it tells nothing but whether such a user was ever seen.
    """
    odd = {name: warnings for name in names if (warnings := name_warnings(name))}
    seen: set[str] = set()
    for chunk in chunks(list(odd)):
        seen.update(
            connection.scalars(
                select(User.name).where(User.name.in_(chunk), User.first_seen_at.is_not(None))
            )
        )
    return [OddName(name, warnings) for name, warnings in odd.items() if name not in seen]


def list_members(connection: Connection, caller: Caller, course: str | None = None) -> list[Member]:
    """Return the members of one course, or of all, by course, role and name; for admins.

    Raises NotFound when there is no such course.
    """
    access.require_admin(caller)
    if course is not None:
        access.look_up(connection, caller, course)
    similar: dict[str, list[str]] = {}
    for name in connection.scalars(
        select(User.name).where(User.first_seen_at.is_not(None)).order_by(User.name)
    ):
        similar.setdefault(name_key(name), []).append(name)
    rows = connection.execute(
        select(Course.name, User.name, Membership.role, User.first_seen_at)
        .select_from(Membership)
        .join(Course, Course.id == Membership.course_id)
        .join(User, User.id == Membership.user_id)
        .where(
            Membership.removed_at.is_(None),
            Course.removed_at.is_(None),
            *([] if course is None else [Course.name == course]),
        )
        .order_by(Course.name, Membership.role, User.name)
    )
    return [
        Member(*row, name_warnings(row[1]), similar.get(name_key(row[1]), []))
        if row[3] is None
        else Member(*row, [], [])
        for row in rows
    ]


def chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Split a sequence into pieces that fit into one IN list."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
