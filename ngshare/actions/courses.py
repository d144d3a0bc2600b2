"""Courses: list, create, remove."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from ngshare.actions import access, audit, roster
from ngshare.actions.access import Caller, Standing
from ngshare.errors import Conflict
from ngshare.models import INSTRUCTOR, Course, Membership, User


def list_courses(session: Session, caller: Caller) -> list[str]:
    """The sorted names of the caller's courses; an admin's are all."""
    names = select(Course.name).where(Course.removed_at.is_(None))
    if not caller.admin:
        names = names.where(Course.id.in_(_memberships(caller)))
    return sorted(session.scalars(names))


def list_roles(session: Session, caller: Caller) -> list[tuple[str, str]]:
    """The courses that the caller is a member of, sorted, with the role in each."""
    rows = session.execute(
        select(Course.name, Membership.role)
        .join(Membership, Membership.course_id == Course.id)
        .join(User, User.id == Membership.user_id)
        .where(
            User.name == caller.name,
            Membership.removed_at.is_(None),
            Course.removed_at.is_(None),
        )
    )
    return sorted((name, role) for name, role in rows)


def check_create(session: Session, caller: Caller, course: str) -> None:
    """Refuse whoever may not create this course, and a name that is taken."""
    access.require_admin(caller)
    taken = session.scalar(
        select(Course.id).where(Course.name == course, Course.removed_at.is_(None))
    )
    if taken is not None:
        raise Conflict("Course already exists")


def create_course(
    session: Session, caller: Caller, course: str, instructors: Sequence[str]
) -> None:
    """Create a course, with these users as its instructors; for admins.

    A removed course of the same name is left alone: this one starts empty.
    """
    check_create(session, caller, course)
    moment = audit.now()
    course_id: int = session.execute(
        insert(Course).returning(Course.id), {"name": course, "created_at": moment}
    ).scalar_one()
    people = [roster.Person(name) for name in dict.fromkeys(instructors)]
    roster.set_members(session, course_id, INSTRUCTOR, people)
    audit.record(
        session,
        caller,
        "course created",
        course=Standing(course_id, course, None, caller.admin),
        at=moment,
        instructors=[person.username for person in people],
    )


def remove_course(session: Session, caller: Caller, course: str) -> None:
    """Hide a course and all that is in it; for admins. It can be restored until it is purged."""
    access.require_admin(caller)
    found = access.standing(session, caller, course)
    moment = audit.now()
    session.execute(update(Course).where(Course.id == found.course_id).values(removed_at=moment))
    audit.record(session, caller, "course removed", course=found, at=moment)


def _memberships(caller: Caller):  # type: ignore[no-untyped-def]
    return (
        select(Membership.course_id)
        .join(User, User.id == Membership.user_id)
        .where(User.name == caller.name, Membership.removed_at.is_(None))
    )
