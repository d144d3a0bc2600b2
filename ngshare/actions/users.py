"""Users: record their first requests, and find names that may match no user of the Hub.

A user gets a row with their first request, or earlier when another user adds them to a roster.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, insert, select, update

from ngshare.actions import audit
from ngshare.actions.access import Caller, get_access, require_admin
from ngshare.actions.chunks import chunks
from ngshare.db.models import Course, Membership, User
from ngshare.protocol.usernames import lookalike_key, name_warnings

_FIRST_SEEN = select(User.first_seen_at).where(User.name == bindparam("name"))


@dataclass(frozen=True, slots=True)
class SuspiciousName:
    """A name of no user seen so far, with the reasons why it may match none.

    Each reason is a phrase that follows the name, as in "has capitals".
    """

    username: str
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a course, and the time (UTC) of their first request (None: they sent none).

    For a member who sent none, ``warnings`` are the reasons why the name may match no user, and
    ``similar`` the names of users who did send requests and whose names differ only in blanks,
    case or Unicode form.
    """

    course: str
    username: str
    role: str
    first_seen_at: datetime | None
    warnings: list[str]
    similar: list[str]


def was_seen(connection: Connection, name: str) -> bool:
    """Return True if a user of this name ever sent a request."""
    return connection.scalar(_FIRST_SEEN, {"name": name}) is not None


def mark_seen(connection: Connection, name: str) -> None:
    """Record the time of a user's first request."""
    ensure_users(connection, [name])
    connection.execute(
        update(User)
        .where(User.name == name, User.first_seen_at.is_(None))
        .values(first_seen_at=audit.now())
    )


def ensure_users(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """Return the row ids of these users by name, and insert the rows that are missing."""
    unique = list(dict.fromkeys(names))
    ids: dict[str, int] = {}
    for chunk in chunks(unique):
        rows = connection.execute(select(User.name, User.id).where(User.name.in_(chunk)))
        ids.update((name, user_id) for name, user_id in rows)
    missing = [name for name in unique if name not in ids]
    if missing:
        # Sorted: two transactions that insert the same names in different orders would deadlock.
        rows = connection.execute(
            insert(User).returning(User.name, User.id), [{"name": name} for name in sorted(missing)]
        )
        ids.update((name, user_id) for name, user_id in rows)
    return ids


def find_suspicious_names(
    connection: Connection, caller: Caller, names: Sequence[str]
) -> list[SuspiciousName]:
    """Return the names that may match no user, in the given order.

    For callers who may add the names to a course: the result only reveals which of the names
    belong to users who sent requests.
    """
    suspicious = {name: warnings for name in names if (warnings := name_warnings(name))}
    seen: set[str] = set()
    for chunk in chunks(list(suspicious)):
        seen.update(
            connection.scalars(
                select(User.name).where(User.name.in_(chunk), User.first_seen_at.is_not(None))
            )
        )
    return [
        SuspiciousName(name, warnings) for name, warnings in suspicious.items() if name not in seen
    ]


def list_members(connection: Connection, caller: Caller, course: str | None = None) -> list[Member]:
    """Return the members of one course or of all, sorted by course, role and name; for admins.

    Raises NotFound when there is no such course.
    """
    require_admin(caller)
    if course is not None:
        get_access(connection, caller, course)
    similar: dict[str, list[str]] = {}
    for name in connection.scalars(
        select(User.name).where(User.first_seen_at.is_not(None)).order_by(User.name)
    ):
        similar.setdefault(lookalike_key(name), []).append(name)
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
        Member(*row, name_warnings(row[1]), similar.get(lookalike_key(row[1]), []))
        if row[3] is None
        else Member(*row, [], [])
        for row in rows
    ]
