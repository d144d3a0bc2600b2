"""Queries of the audit log: filters, order, pages."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from sqlalchemy import Connection, insert

from ngshare.actions import audit_query, courses, trash, trash_restore
from ngshare.actions.access import get_access
from ngshare.actions.audit import ReadEvent, record_reads
from ngshare.actions.audit_query import LogFilter, LogPage, list_course_log, list_log
from ngshare.db.models import AuditEntry
from ngshare.errors import BadRequest, Forbidden, NotFound
from tests.actions.conftest import ADMIN, COURSE, INSTRUCTOR, STRANGER, STUDENT, Act

START = datetime(2030, 1, 1, tzinfo=timezone.utc)


def at(number: int) -> datetime:
    return START + timedelta(minutes=number)


def put(connection: Connection, *moments: int, **values: object) -> None:
    """Write entries of these times, in this order, with these values."""
    course_id = get_access(connection, ADMIN, COURSE).course_id
    connection.execute(
        insert(AuditEntry),
        [
            {
                "at": at(number),
                "actor": "sam",
                "event": "tested",
                "course_id": course_id,
                "course": COURSE,
                "assignment": "ps1",
                "student": f"s{number}",
                **values,
            }
            for number in moments
        ],
    )


@pytest.fixture
def act(act: Act) -> Act:
    """The course, with ten more entries in its log, not written in the order of their times."""
    act(put, *range(0, 10, 2))
    act(put, *range(1, 10, 2))
    return act


def test_a_client_that_polls_with_an_overlap_misses_no_late_entry(act: Act) -> None:
    """The method of docs/api.md: a late entry comes before entries that the client has seen."""
    seen = act(list_log, ADMIN, LogFilter(oldest_first=True)).entries
    newest = max(entry.at for entry in seen)
    late = newest - timedelta(seconds=3)
    read = ReadEvent(late, "sam", "assignment fetched", COURSE, "ps1", None, None)
    act(record_reads, [read])
    last = seen[-1].id
    assert act(list_log, ADMIN, LogFilter(oldest_first=True, after=last)).entries == []
    overlap = LogFilter(oldest_first=True, since=newest - timedelta(minutes=5))
    ids = {entry.id for entry in seen}
    [new] = [one for one in act(list_log, ADMIN, overlap).entries if one.id not in ids]
    assert (new.event, new.at) == ("assignment fetched", late)


def students(page: LogPage) -> list[str]:
    return [entry.student or "" for entry in page.entries]


def read_all_pages(act: Act, **wanted: object) -> list[str]:
    """Return the students of the entries of all pages."""
    direction = "after" if wanted.get("oldest_first") else "before"
    seen, place = [], None
    while True:
        wanted = {**wanted, direction: place} if place is not None else wanted
        page = act(list_course_log, INSTRUCTOR, COURSE, LogFilter(**wanted))  # type: ignore[arg-type]
        seen += students(page)
        if page.next is None:
            return seen
        place = page.next


TESTED = [f"s{number}" for number in range(10)]


@pytest.mark.parametrize("limit", [1, 2, 3, 9, 10, 11, 1000])
@pytest.mark.parametrize("oldest_first", [True, False])
def test_pages_together_have_every_entry_once_and_in_order(
    act: Act, limit: int, oldest_first: bool
) -> None:
    seen = read_all_pages(act, event="tested", limit=limit, oldest_first=oldest_first)
    assert seen == (TESTED if oldest_first else TESTED[::-1])


@pytest.mark.parametrize("limit", [0, -5, 10**9])
def test_a_page_has_at_least_one_entry_and_at_most_a_thousand(act: Act, limit: int) -> None:
    act(put, *range(10, 1100))
    page = act(list_course_log, INSTRUCTOR, COURSE, LogFilter(limit=limit))
    assert len(page.entries) == (1 if limit < 1 else audit_query.MAX_PAGE_SIZE)
    assert page.next == page.entries[-1].id


def test_pages_have_every_entry_of_one_time(act: Act) -> None:
    act(put, *[20] * 7, event="same")
    for oldest_first in (True, False):
        seen = read_all_pages(act, event="same", limit=2, oldest_first=oldest_first)
        assert seen == ["s20"] * 7


def test_before_and_after_do_not_depend_on_the_order_of_the_page(act: Act) -> None:
    page = act(list_course_log, INSTRUCTOR, COURSE, LogFilter(event="tested", student="s4"))
    (entry,) = page.entries
    for oldest_first in (True, False):
        before = LogFilter(event="tested", before=entry.id, oldest_first=oldest_first)
        after = LogFilter(event="tested", after=entry.id, oldest_first=oldest_first)
        seen = students(act(list_course_log, INSTRUCTOR, COURSE, before))
        assert sorted(seen) == TESTED[:4]
        seen = students(act(list_course_log, INSTRUCTOR, COURSE, after))
        assert sorted(seen) == TESTED[5:]


def test_since_and_until_are_inclusive(act: Act) -> None:
    wanted = LogFilter(since=at(3), until=at(6), oldest_first=True)
    assert students(act(list_course_log, INSTRUCTOR, COURSE, wanted)) == TESTED[3:7]


@pytest.mark.parametrize(
    ("field", "value"),
    [("assignment", "ps7"), ("student", "sue"), ("actor", "sue"), ("event", "looked for")],
)
def test_each_filter_selects_matching_entries(act: Act, field: str, value: str) -> None:
    act(put, 42, **{"student": "s42", field: value})
    page = act(list_course_log, INSTRUCTOR, COURSE, LogFilter(**{field: value}))  # type: ignore[arg-type]
    (entry,) = page.entries
    assert entry.at == at(42)
    assert getattr(entry, field) == value


def test_a_rare_match_is_found_on_a_later_page(act: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ngshare.actions.audit_query.MAX_SCANNED_ENTRIES", 3)
    first = act(list_course_log, INSTRUCTOR, COURSE, LogFilter(student="s0"))
    assert (first.entries, first.next is None) == ([], False)
    assert read_all_pages(act, student="s0") == ["s0"]
    assert read_all_pages(act, student="s9", oldest_first=True) == ["s9"]
    assert read_all_pages(act, student="nobody") == []
    assert read_all_pages(act, event="tested", limit=2) == TESTED[::-1]


def test_an_instructor_sees_the_log_of_no_other_course(act: Act) -> None:
    act(courses.create_course, ADMIN, "Other", [STRANGER.name])
    page = act(list_course_log, INSTRUCTOR, COURSE, LogFilter())
    assert {entry.course for entry in page.entries} == {COURSE}
    foreign = act(list_course_log, STRANGER, "Other", LogFilter()).entries[0]
    for wanted in (
        LogFilter(before=foreign.id),
        LogFilter(after=foreign.id),
        LogFilter(after=10**12),
    ):
        with pytest.raises(BadRequest, match="There is no entry"):
            act(list_course_log, INSTRUCTOR, COURSE, wanted)


def test_a_new_course_with_the_name_of_a_removed_one_has_its_own_log(act: Act) -> None:
    act(courses.remove_course, ADMIN, COURSE)
    with pytest.raises(NotFound):
        act(list_course_log, INSTRUCTOR, COURSE, LogFilter())
    act(courses.create_course, ADMIN, COURSE, [INSTRUCTOR.name])
    page = act(list_course_log, INSTRUCTOR, COURSE, LogFilter())
    assert [entry.event for entry in page.entries] == ["instructor added", "course created"]
    page = act(list_log, ADMIN, LogFilter(course=COURSE, student="s3"))
    assert students(page) == ["s3"]


def test_permissions(act: Act) -> None:
    for caller in (STUDENT, STRANGER):
        with pytest.raises(Forbidden):
            act(list_course_log, caller, COURSE, LogFilter())
    for caller in (INSTRUCTOR, STUDENT, STRANGER):
        with pytest.raises(Forbidden):
            act(list_log, caller, LogFilter())
    act(list_course_log, ADMIN, COURSE, LogFilter())


# Reads, whose entries are written later


def read(number: int, course: str = COURSE) -> ReadEvent:
    return ReadEvent(at(number), "sam", "assignment fetched", course, "ps1", None, {"files": 1})


def test_reads_are_listed_at_their_time(act: Act) -> None:
    act(record_reads, [read(4), read(20)])
    page = act(
        list_course_log, INSTRUCTOR, COURSE, LogFilter(actor="sam", since=at(4), until=at(5))
    )
    assert [entry.event for entry in page.entries] == ["tested", "assignment fetched", "tested"]
    assert page.entries[1].detail == {"files": 1}


def test_reads_belong_to_the_live_course_of_that_name(act: Act) -> None:
    """Not to a newer course of that name that was removed before the older one was restored."""
    act(courses.remove_course, ADMIN, COURSE)
    act(courses.create_course, ADMIN, COURSE, [])
    act(courses.remove_course, ADMIN, COURSE)
    [first] = [each for each in act(trash.list_trash, ADMIN) if each.key == "c1"]
    act(trash_restore.restore_item, ADMIN, first.key)
    act(record_reads, [read(40)])
    page = act(list_course_log, INSTRUCTOR, COURSE, LogFilter(event="assignment fetched"))
    assert [entry.actor for entry in page.entries] == ["sam"]


def test_reads_belong_to_the_course_removed_since(act: Act) -> None:
    act(courses.remove_course, ADMIN, COURSE)
    act(record_reads, [read(40)])
    act(trash_restore.restore_item, ADMIN, "c1")
    page = act(list_course_log, INSTRUCTOR, COURSE, LogFilter(event="assignment fetched"))
    assert [entry.actor for entry in page.entries] == ["sam"]


def test_reads_of_a_removed_or_unknown_course_are_kept(act: Act) -> None:
    act(courses.remove_course, ADMIN, COURSE)
    act(record_reads, [read(30), read(31, "Never was")])
    page = act(list_log, ADMIN, LogFilter(event="assignment fetched"))
    assert [entry.course for entry in page.entries] == ["Never was", COURSE]
