"""``ngshare log``: who did what and when, and who has not handed in."""

from __future__ import annotations

import json
from datetime import datetime, time, timedelta, timezone

import pytest

from ngshare.actions import audit_query, courses, submissions
from ngshare.blobs import LocalBlobs
from ngshare.commands.base import CommandError
from ngshare.commands.log import parse_time_option
from ngshare.db.transactions import Database
from tests.commands.conftest import ADMIN, COURSE, SAM, Run, stored
from tests.databases import only_sqlite
from tests.process.site import Site

CHECK = ": check the name with ngshare log or ngshare trash list"


def test_newest_first(run: Run, course: str) -> None:
    told = run("log").stdout.splitlines()
    assert len(told) == 7
    number, moment, *_ = told[0].split()
    assert int(number) > int(told[1].split()[0])
    assert datetime.fromisoformat(f"{moment} {told[0].split()[2][:-1]}")
    assert "ivy  feedback given  Physics 101/ps1  sam  files=1  timestamp=20" in told[0]
    assert "ada  instructor added  Physics 101  instructor=ivy" in told[-2]
    assert "ada  course created  Physics 101  count=1" in told[-1]
    assert run("log", "--oldest-first").stdout.splitlines() == told[::-1]


def test_only_some(run: Run, database: Database, course: str) -> None:
    database.write(courses.create_course, ADMIN, "Other", [])

    def events(*words: str) -> list[str]:
        told = run("log", "--json", "--oldest-first", *words).stdout
        return [json.loads(line)["event"] for line in told.splitlines()]

    assert events("--course", "Other") == ["course created"]
    assert events("--assignment", "ps1") == [
        "assignment released",
        "submission handed in",
        "feedback given",
    ]
    assert events("--student", "sam", "--actor", "sam") == ["submission handed in"]
    assert events("--event", "student added") == ["student added"] * 2
    assert events("--since", "2100-01-01") == []
    assert events("--until", "2000-01-01") == []
    assert len(events("--since", "2000-01-01", "--until", "2100-01-01")) == 8
    told = run("log", "--student", "tom", "--event=submission handed in").stdout
    assert told == "There is nothing of that in the log.\n"


def test_a_name_that_never_was_is_no_answer(run: Run, database: Database, course: str) -> None:
    def refused(*words: str) -> str:
        told = run("log", *words, code=1)
        assert told.stdout == ""
        return told.stderr

    assert refused("--course", "Typo") == f"ngshare: There is no course Typo{CHECK}\n"
    assert refused("--course", "Typo", "--json") == f"ngshare: There is no course Typo{CHECK}\n"
    assert refused("--student", "zoe") == f"ngshare: There is no student zoe{CHECK}\n"
    assert refused("--assignment", "ps9") == f"ngshare: There is no assignment ps9{CHECK}\n"
    database.write(courses.create_course, ADMIN, "Other", [])
    told = refused("--course", "Other", "--assignment", "ps1")
    assert told == f"ngshare: There is no assignment ps1 in the course Other{CHECK}\n"


def test_an_event_that_does_not_exist(run: Run, course: str) -> None:
    told = run("log", "--event", "submision", code=1)
    assert told.stdout == ""
    assert told.stderr.startswith("ngshare: there is no event 'submision'; there are: course cr")
    assert "submission handed in" in told.stderr


def test_of_a_removed_course_and_a_purged_one(run: Run, database: Database, course: str) -> None:
    database.write(courses.remove_course, ADMIN, course)
    about = ("--course", course, "--assignment", "ps1")
    nothing = "There is nothing of that in the log.\n"
    assert "submission handed in" in run("log", *about).stdout
    assert run("log", *about, "--event=feedback fetched").stdout == nothing
    run("trash", "purge", "--days=0", "--yes")
    assert "submission handed in" in run("log", *about).stdout
    assert run("log", *about, "--event=feedback fetched").stdout == nothing


def test_as_json(run: Run, course: str) -> None:
    [line] = run("log", "--json", "--event=submission handed in").stdout.splitlines()
    entry = json.loads(line)
    assert list(entry) == [
        "id",
        "timestamp",
        "actor",
        "event",
        "course",
        "assignment",
        "student",
        "detail",
    ]
    assert entry["timestamp"].endswith(" UTC")
    assert (entry["actor"], entry["course"], entry["detail"]["files"]) == ("sam", COURSE, 2)


def test_page_by_page(run: Run, course: str) -> None:
    everything = run("log").stdout.splitlines()
    seen: list[str] = []
    more = ["--limit=4"]
    for left in (True, False):
        told = run("log", *more)
        page = told.stdout.splitlines()
        number = page[-1].split()[0]
        wanted = f"There is more: --before={number} goes on, --limit=0 shows all.\n"
        assert told.stderr == (wanted if left else "")
        seen += page
        more = ["--limit=4", f"--before={page[-1].split()[0]}"]
    assert seen == everything
    oldest = run("log", "--oldest-first", "--limit=1").stdout
    number = oldest.split()[0]
    following = run("log", "--oldest-first", "--limit=1", f"--before={number}").stdout
    assert [oldest.strip(), following.strip()] == [one.strip() for one in everything[:-3:-1]]


@only_sqlite
def test_all_of_a_long_log(
    run: Run, database: Database, course: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_query, "MAX_PAGE_SIZE", 3)
    monkeypatch.setattr(audit_query, "MAX_SCANNED_ENTRIES", 4)
    assert len(run("log", "--limit=0").stdout.splitlines()) == 7
    assert len(run("log", "--limit=5").stdout.splitlines()) == 5
    assert len(run("log", "--event=course created").stdout.splitlines()) == 1


def test_did_she_submit_before_the_deadline(run: Run, course: str) -> None:
    about = (
        "--course",
        COURSE,
        "--assignment=ps1",
        "--student=sam",
        "--event=submission handed in",
    )
    assert "submission handed in" in run("log", *about, "--until", "2100-01-01 18:00").stdout
    assert "nothing of that" in run("log", *about, "--until", "2000-01-01 18:00").stdout


def test_who_has_not_submitted(
    run: Run, database: Database, blobs: LocalBlobs, course: str
) -> None:
    about = ("--course", COURSE, "--assignment=ps1", "--missing")
    assert run("log", *about).stdout == "tom  Tom  never\n"
    late = run("log", *about, "--until", "2000-01-01 18:00").stdout.splitlines()
    assert late[0].startswith("sam  Sam  late, 20")
    assert late[1] == "tom  Tom  never"
    [line] = run("log", *about, "--json").stdout.splitlines()
    assert json.loads(line) == {
        "username": "tom",
        "first_name": "Tom",
        "last_name": "",
        "email": "",
        "late": None,
    }
    tom = type(SAM)("tom")
    database.write(submissions.submit, tom, COURSE, "ps1", stored(blobs, a=b"at last"))
    assert run("log", *about).stdout == "Everybody has handed in.\n"
    assert "wants --course and --assignment" in run("log", "--missing", code=1).stderr
    refused = run("log", "--course", COURSE, "--assignment=ps9", "--missing", code=1).stderr
    assert refused == "ngshare: Assignment not found\n"


@only_sqlite
@pytest.mark.parametrize(
    "option",
    [
        "--student=sam",
        "--actor=sam",
        "--event=x",
        "--since=2026-01-01",
        "--limit=100",
        "--before=3",
        "--oldest-first",
    ],
)
def test_missing_refuses_what_it_does_not_heed(run: Run, course: str, option: str) -> None:
    refused = run("log", "--course", COURSE, "--assignment=ps1", "--missing", option, code=1)
    name = option.partition("=")[0]
    assert refused.stderr.startswith(f"ngshare: {name} means nothing with --missing")
    assert refused.stdout == ""


@only_sqlite
def test_what_a_configuration_file_sets_is_no_mistake(run: Run, site: Site, course: str) -> None:
    with (site.folder / "ngshare_config.py").open("a") as config:
        config.write("c.Log.limit = 20\n")
    told = run("log", "--course", COURSE, "--assignment=ps1", "--missing", "--until=2100-01-01")
    assert told.stdout == "tom  Tom  never\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20", datetime(2026, 11, 20, 23, 59, 59, 999999)),
        ("2026-11-20 18:00", datetime(2026, 11, 20, 18)),
        (
            "2026-11-20 18:00:01.5 UTC".replace(".5", ".500000"),
            datetime(2026, 11, 20, 18, 0, 1, 500000),
        ),
        (" 2026-11-20T18:00:00Z ", datetime(2026, 11, 20, 18)),
        ("2026-11-20T18:00:00+01:00", datetime(2026, 11, 20, 17)),
    ],
)
def test_moments(text: str, expected: datetime) -> None:
    assert parse_time_option(text, time.max) == expected.replace(tzinfo=timezone.utc)


def test_a_day_begins_at_midnight() -> None:
    midnight = parse_time_option("2026-11-20", time.min)
    assert parse_time_option("2026-11-20", time.max) - midnight < timedelta(days=1)


@pytest.mark.parametrize("text", ["", "tomorrow", "20.11.2026", "2026-13-01", "2026-11-20 25:00"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(CommandError, match="is no moment; write 2026-11-20"):
        parse_time_option(text, time.min)
