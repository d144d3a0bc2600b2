"""Races on PostgreSQL: the second transaction waits for the first, and sees its changes.

SQLite lets one transaction write at a time, so there is nothing to wait for there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import Connection, func, select, text

from ngshare.actions import (
    assignments,
    audit,
    courses,
    feedback,
    purge,
    quota,
    roster,
    roster_import,
    submissions,
    trash,
    users,
)
from ngshare.actions.roster import Person
from ngshare.db.models import (
    Assignment,
    AuditEntry,
    File,
    Membership,
    ReplacedTree,
    Submission,
    User,
)
from ngshare.db.transactions import Database
from ngshare.errors import Conflict, ExchangeError, Forbidden, NotFound, OverQuota
from ngshare.protocol.times import format_time
from ngshare.protocol.trees import StoredFile
from tests.actions.conftest import ADMIN, COURSE, INSTRUCTOR, STUDENT, Act
from tests.databases import only_postgresql
from tests.postgres import Cluster

pytestmark = only_postgresql

PATIENCE = 30
ASSIGNMENT = "ps1"

Step = Callable[[Connection], Any]


def tree(name: str) -> list[StoredFile]:
    return [StoredFile(name, b"\0" * 32, b"\0" * 16, 1)]


class Race:
    """Two transactions, of which the second begins before the first commits."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.waited = False
        """Whether the second had to wait for the first."""
        self.retries = 0
        database.retried = self._count

    def run(self, first: Step, second: Step, then: Step = lambda connection: None) -> Any:
        """What the second returned, or the error that it raised.

        ``then`` is what the first still does when the second is waiting for it.
        """
        at_its_end, go_on = threading.Event(), threading.Event()

        def hold(connection: Connection) -> None:
            first(connection)
            at_its_end.set()
            assert go_on.wait(PATIENCE)
            then(connection)

        results: list[Any] = []

        def follow() -> None:
            try:
                results.append(self.database.write(second))
            except ExchangeError as error:
                results.append(error)

        holder = threading.Thread(target=self.database.write, args=(hold,))
        follower = threading.Thread(target=follow)
        try:
            holder.start()
            assert at_its_end.wait(PATIENCE)
            follower.start()
            self._wait_for(follower)
        finally:
            go_on.set()
            holder.join(PATIENCE)
            follower.join(PATIENCE)
        assert not holder.is_alive() and not follower.is_alive()
        [result] = results
        return result

    def _wait_for(self, follower: threading.Thread) -> None:
        """Wait until the second waits for the first, or has ended."""
        looking = Database(self.database.url)
        waits = text(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        give_up = time.monotonic() + PATIENCE
        while follower.is_alive() and not self.waited:
            assert time.monotonic() < give_up
            self.waited = looking.read(lambda connection: connection.scalar(waits)) > 0
        looking.close()

    def _count(self) -> None:
        self.retries += 1


@pytest.fixture
def race(act: Act, database: Database) -> Iterator[Race]:
    act(assignments.release_assignment, INSTRUCTOR, COURSE, ASSIGNMENT, tree("released"))
    yield Race(database)


def step(action: Callable[..., Any], *arguments: Any) -> Step:
    return lambda connection: action(connection, *arguments)


def steps(*several: Step) -> Step:
    def run(connection: Connection) -> None:
        for one in several:
            one(connection)

    return run


def events(database: Database, event: str) -> int:
    count = select(func.count()).select_from(AuditEntry).where(AuditEntry.event == event)
    return database.read(lambda connection: connection.scalar(count))


def replaced(database: Database) -> dict[str, bool]:
    """Return for each tree, by the name of its only file, whether it is marked as replaced."""
    query = select(File.path, ReplacedTree.tree_id.is_not(None)).outerjoin(
        ReplacedTree, ReplacedTree.tree_id == File.tree_id
    )
    return database.read(lambda connection: dict(connection.execute(query).all()))


def role(database: Database, username: str) -> str | None:
    query = (
        select(Membership.role)
        .join(User, User.id == Membership.user_id)
        .where(User.name == username, Membership.removed_at.is_(None))
    )
    return database.read(lambda connection: connection.scalar(query))


remove = step(assignments.remove_assignment, INSTRUCTOR, COURSE, ASSIGNMENT)


def release(name: str, assignment: str = ASSIGNMENT) -> Step:
    return step(assignments.release_assignment, INSTRUCTOR, COURSE, assignment, tree(name))


def test_feedback_twice(race: Race, act: Act, database: Database) -> None:
    moment = act(submissions.submit, STUDENT, COURSE, ASSIGNMENT, tree("submitted"))

    def give(name: str) -> Step:
        when = format_time(moment)
        return step(
            feedback.give_feedback, INSTRUCTOR, COURSE, ASSIGNMENT, STUDENT.name, when, tree(name)
        )

    assert race.run(give("first"), give("second")) is None
    assert race.waited
    assert replaced(database) == {
        "released": False,
        "submitted": False,
        "first": True,
        "second": False,
    }


def test_submissions_of_one_student_at_one_instant(race: Race, database: Database) -> None:
    instant = datetime(2027, 1, 1, tzinfo=timezone.utc)
    with patch("ngshare.actions.audit.now", return_value=instant):
        second = race.run(
            step(submissions.submit, STUDENT, COURSE, ASSIGNMENT, tree("first")),
            step(submissions.submit, STUDENT, COURSE, ASSIGNMENT, tree("second")),
        )
    assert race.waited
    assert race.retries == 0
    assert second > instant
    count = select(func.count()).select_from(Submission)
    assert database.read(lambda connection: connection.scalar(count)) == 2


remove_instructor = step(roster.remove_instructor, ADMIN, COURSE, INSTRUCTOR.name)


@pytest.mark.parametrize(
    ("meanwhile", "error"),
    [
        (remove, NotFound),
        (step(courses.remove_course, ADMIN, COURSE), NotFound),
        (step(roster.remove_student, INSTRUCTOR, COURSE, STUDENT.name), Forbidden),
    ],
)
def test_a_submission_that_waited_is_checked_again(
    race: Race, database: Database, meanwhile: Step, error: type[Exception]
) -> None:
    result = race.run(
        step(submissions.submit, STUDENT, COURSE, ASSIGNMENT, tree("first")),
        step(submissions.submit, STUDENT, COURSE, ASSIGNMENT, tree("second")),
        then=meanwhile,
    )
    assert race.waited
    assert isinstance(result, error)
    assert events(database, "submission handed in") == 1


def purge_all(connection: Connection) -> None:
    keys = [item.key for item in trash.list_trash(connection, ADMIN)]
    purge.purge_items(connection, ADMIN, keys, audit.now() + timedelta(minutes=1))


@pytest.mark.parametrize("removal", [remove, step(courses.remove_course, ADMIN, COURSE)])
def test_a_submission_while_its_assignment_or_course_is_purged(
    race: Race, database: Database, removal: Step
) -> None:
    """Without a retry it would fail with a violated foreign key."""
    submit = step(submissions.submit, STUDENT, COURSE, ASSIGNMENT, tree("first"))
    assert isinstance(race.run(steps(removal, purge_all), submit), NotFound)
    assert race.waited
    assert race.retries == 1
    assert events(database, "submission handed in") == 0


def test_feedback_while_its_assignment_is_purged(race: Race, act: Act) -> None:
    moment = act(submissions.submit, STUDENT, COURSE, ASSIGNMENT, tree("submitted"))
    place = (INSTRUCTOR, COURSE, ASSIGNMENT, STUDENT.name, format_time(moment))
    give = step(feedback.give_feedback, *place, tree("feedback"))
    assert isinstance(race.run(steps(remove, purge_all), give), NotFound)
    assert race.waited


def test_a_release_that_waited_is_checked_again(race: Race, database: Database) -> None:
    database.write(remove)
    twice = steps(release("first"), remove)
    assert isinstance(race.run(twice, release("second"), then=remove_instructor), Forbidden)
    assert race.waited
    assert replaced(database) == {"released": True, "first": False}


def test_a_removal_that_waited_is_checked_again(race: Race, database: Database) -> None:
    again = steps(remove, release("again"))
    assert isinstance(race.run(again, remove, then=remove_instructor), Forbidden)
    assert race.waited
    assert events(database, "assignment removed") == 1


def test_feedback_that_waited_is_checked_again(race: Race, act: Act) -> None:
    moment = act(submissions.submit, STUDENT, COURSE, ASSIGNMENT, tree("submitted"))
    give = step(
        feedback.give_feedback,
        *(INSTRUCTOR, COURSE, ASSIGNMENT, STUDENT.name),
        format_time(moment),
        [],
    )
    assert isinstance(race.run(give, give, then=remove), NotFound)
    assert race.waited


def test_submissions_of_two_students_do_not_wait_for_each_other(race: Race) -> None:
    other = step(submissions.submit, INSTRUCTOR, COURSE, ASSIGNMENT, tree("second"))
    race.run(step(submissions.submit, STUDENT, COURSE, ASSIGNMENT, tree("first")), other)
    assert not race.waited


def test_two_submissions_that_together_exceed_the_quota(race: Race, act: Act) -> None:
    used = act(quota.get_usage, INSTRUCTOR, COURSE)
    submit = quota.enforce_quota(used + 1, submissions.submit)
    result = race.run(
        step(submit, STUDENT, COURSE, ASSIGNMENT, tree("first")),
        step(submit, INSTRUCTOR, COURSE, ASSIGNMENT, tree("second")),
    )
    assert race.waited
    assert isinstance(result, OverQuota)
    assert act(quota.get_usage, INSTRUCTOR, COURSE) == used + 1


def test_two_submissions_within_the_quota(race: Race, act: Act, database: Database) -> None:
    submit = quota.enforce_quota(act(quota.get_usage, INSTRUCTOR, COURSE) + 2, submissions.submit)
    race.run(
        step(submit, STUDENT, COURSE, ASSIGNMENT, tree("first")),
        step(submit, INSTRUCTOR, COURSE, ASSIGNMENT, tree("second")),
    )
    assert race.waited
    assert race.retries == 0
    assert events(database, "submission handed in") == 2


def test_a_submission_does_not_wait_for_an_import(race: Race) -> None:
    race.run(
        step(
            roster_import.import_students, INSTRUCTOR, COURSE, [Person("new"), Person(STUDENT.name)]
        ),
        step(submissions.submit, STUDENT, COURSE, ASSIGNMENT, tree("first")),
    )
    assert not race.waited


def test_a_release_twice(race: Race, database: Database) -> None:
    result = race.run(release("first", "ps2"), release("second", "ps2"))
    assert race.waited
    assert isinstance(result, Conflict)
    assert replaced(database) == {"released": False, "first": False}


def test_a_release_by_force_twice(race: Race, act: Act, database: Database) -> None:
    """It was removed before: the first release restores it, the second gets a conflict."""
    database.write(remove)
    result = race.run(release("first"), release("second"))
    assert race.waited
    assert isinstance(result, Conflict)
    assert replaced(database) == {"released": True, "first": False}
    assert act(assignments.fetch_assignment, STUDENT, COURSE, ASSIGNMENT) == tree("first")


def test_a_release_of_an_assignment_that_is_released_and_removed_meanwhile(
    race: Race, database: Database
) -> None:
    """The second release restores the assignment, and replaces the files of the first."""
    database.write(remove)
    assert race.run(steps(release("first"), remove), release("second")) is None
    assert race.waited
    assert replaced(database) == {"released": True, "first": True, "second": False}


def test_an_assignment_is_removed_once(race: Race, database: Database) -> None:
    assert isinstance(race.run(remove, remove), NotFound)
    assert race.waited
    assert events(database, "assignment removed") == 1
    name = select(func.count()).where(Assignment.removed_at.is_(None))
    assert database.read(lambda connection: connection.scalar(name)) == 0


def test_a_course_is_removed_once(race: Race, database: Database) -> None:
    remove_course = step(courses.remove_course, ADMIN, COURSE)
    assert isinstance(race.run(remove_course, remove_course), NotFound)
    assert race.waited
    assert events(database, "course removed") == 1


def test_a_course_is_created_once(race: Race, database: Database) -> None:
    result = race.run(
        step(courses.create_course, ADMIN, "new", ["first"]),
        step(courses.create_course, ADMIN, "new", ["second"]),
    )
    assert race.waited
    assert isinstance(result, Conflict)
    assert role(database, "second") is None


def test_a_student_is_removed_once(race: Race, database: Database) -> None:
    remove_student = step(roster.remove_student, INSTRUCTOR, COURSE, STUDENT.name)
    assert isinstance(race.run(remove_student, remove_student), NotFound)
    assert race.waited
    assert events(database, "student removed") == 1


def test_adding_a_student_who_was_just_made_an_instructor(race: Race, database: Database) -> None:
    result = race.run(
        step(roster.put_instructor, ADMIN, COURSE, STUDENT.name, "", "", ""),
        step(roster.put_student, INSTRUCTOR, COURSE, STUDENT.name, "", "", ""),
    )
    assert race.waited
    assert isinstance(result, Conflict)
    assert role(database, STUDENT.name) == "instructor"


def test_importing_a_student_who_was_just_made_an_instructor(
    race: Race, database: Database
) -> None:
    [status] = race.run(
        step(roster.put_instructor, ADMIN, COURSE, STUDENT.name, "", "", ""),
        step(roster_import.import_students, INSTRUCTOR, COURSE, [Person(STUDENT.name)]),
    )
    assert status.message == "Cannot add instructor as student"
    assert role(database, STUDENT.name) == "instructor"


def test_an_instructor_who_was_just_removed_cannot_add_themselves(
    race: Race, database: Database
) -> None:
    result = race.run(
        step(roster.remove_instructor, ADMIN, COURSE, INSTRUCTOR.name),
        step(roster.put_instructor, INSTRUCTOR, COURSE, INSTRUCTOR.name, "", "", ""),
    )
    assert race.waited
    assert isinstance(result, Forbidden)
    assert role(database, INSTRUCTOR.name) is None


@pytest.mark.parametrize("first", ["purge", "add"])
def test_a_student_added_during_their_purge_is_in_the_course(
    race: Race, act: Act, database: Database, first: str
) -> None:
    act(roster.remove_student, INSTRUCTOR, COURSE, STUDENT.name)
    [removed] = act(trash.list_trash, ADMIN)
    later = audit.now() + timedelta(minutes=1)
    purges = step(purge.purge_items, ADMIN, [removed.key], later)
    adds = step(roster.put_student, INSTRUCTOR, COURSE, STUDENT.name, "Sam", "", "")
    race.run(*((purges, adds) if first == "purge" else (adds, purges)))
    assert race.waited
    assert role(database, STUDENT.name) == "student"
    assert events(database, "student purged") == (1 if first == "purge" else 0)


def test_two_imports_of_the_same_students_in_opposite_orders(race: Race) -> None:
    names = [f"student {number}" for number in range(20)]
    people = [Person(name) for name in names]
    assert race.run(
        step(roster_import.import_students, INSTRUCTOR, COURSE, people),
        step(roster_import.import_students, INSTRUCTOR, COURSE, people[::-1]),
    ) == [roster_import.ImportStatus(name) for name in names[::-1]]
    assert race.waited
    assert race.retries == 0


def test_inserting_the_same_users_in_opposite_orders_does_not_deadlock(
    race: Race, postgres_cluster: Cluster
) -> None:
    """Users are inserted sorted by name; in the given order each would wait for the other."""
    deadlocks = postgres_cluster.log.count("deadlock detected")
    first, second = (step(users.ensure_users, names) for names in (["a"], ["b", "a"]))
    race.run(first, second, then=step(users.ensure_users, ["b"]))
    assert race.waited
    assert race.retries == 1  # the second, which then finds them both
    assert postgres_cluster.log.count("deadlock detected") == deadlocks
