"""Users who were seen, and names that may match no user."""

from __future__ import annotations

from datetime import datetime, timezone
from unittest.mock import patch

import pytest
from sqlalchemy import select

from ngshare.actions import courses, roster, roster_import, users
from ngshare.actions.roster import Person
from ngshare.actions.users import Member, SuspiciousName
from ngshare.db.models import User
from ngshare.errors import Forbidden, NotFound
from tests.actions.conftest import ADMIN, COURSE, INSTRUCTOR, STUDENT, Act

NOW = datetime(2026, 9, 1, 8, tzinfo=timezone.utc)
CAPITALS = "has capitals, and JupyterHub makes names lower-case by default"


def test_a_user_is_first_seen_once(act: Act) -> None:
    assert not act(users.was_seen, "newcomer")
    assert not act(users.was_seen, STUDENT.name), "named is not seen"
    for name in ("newcomer", STUDENT.name):
        with patch("ngshare.actions.audit.now", return_value=NOW):
            act(users.mark_seen, name)
        act(users.mark_seen, name)
        assert act(users.was_seen, name)
        seen = select(User.first_seen_at).where(User.name == name)
        assert act(lambda connection, query=seen: connection.scalar(query)) == NOW
    assert not act(users.was_seen, INSTRUCTOR.name)


def test_names_of_users_who_were_seen_are_not_suspicious(act: Act) -> None:
    names = ["fine", "JDoe", " u6 "]
    odd = (
        SuspiciousName("JDoe", [CAPITALS]),
        SuspiciousName(" u6 ", ["begins or ends with a blank"]),
    )
    assert act(users.find_suspicious_names, INSTRUCTOR, names) == [*odd]
    act(users.mark_seen, "JDoe")
    assert act(users.find_suspicious_names, INSTRUCTOR, names) == [odd[1]]
    many = [f"JDoe {number}" for number in range(1200)]
    act(users.mark_seen, many[1100])
    found = act(users.find_suspicious_names, INSTRUCTOR, many)
    assert [one.username for one in found] == many[:1100] + many[1101:]


def test_members_never_seen_whose_names_resemble_a_user_who_was(act: Act) -> None:
    act(roster_import.import_students, INSTRUCTOR, COURSE, [Person("JDoe"), Person("left")])
    act(roster.remove_student, INSTRUCTOR, COURSE, "left")
    act(courses.create_course, ADMIN, "Other", ["jdoe"])
    act(courses.create_course, ADMIN, "Removed", ["jdoe"])
    act(courses.remove_course, ADMIN, "Removed")
    with patch("ngshare.actions.audit.now", return_value=NOW):
        for name in ("jdoe", "jdoe ", STUDENT.name):
            act(users.mark_seen, name)
    physics = [
        Member(COURSE, INSTRUCTOR.name, "instructor", None, [], []),
        Member(COURSE, "JDoe", "student", None, [CAPITALS], ["jdoe", "jdoe "]),
        Member(COURSE, STUDENT.name, "student", NOW, [], []),
    ]
    assert act(users.list_members, ADMIN, COURSE) == physics
    other = Member("Other", "jdoe", "instructor", NOW, [], [])
    assert act(users.list_members, ADMIN) == [other, *physics]
    with pytest.raises(NotFound):
        act(users.list_members, ADMIN, "Removed")
    with pytest.raises(Forbidden):
        act(users.list_members, INSTRUCTOR, COURSE)
