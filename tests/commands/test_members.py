"""``ngshare members``: who is in which course, and who of them never came."""

from __future__ import annotations

import json

from ngshare.actions import audit, roster, users
from ngshare.db.transactions import Database
from tests.commands.conftest import COURSE, IVY, Run


def test_members(run: Run, database: Database, course: str) -> None:
    database.write(roster.put_student, IVY, COURSE, "Sam", "", "", "")
    database.write(users.mark_seen, "sam")
    today = f"{audit.now():%Y-%m-%d}"
    odd = (
        'Physics 101  Sam  student  never seen  "Sam" has capitals, and JupyterHub makes names '
        'lower-case by default  nearly "sam", who was seen'
    )
    assert run("members").stdout.splitlines() == [
        "Physics 101  ivy  instructor  never seen",
        odd,
        f"Physics 101  sam  student  since {today}",
        "Physics 101  tom  student  never seen",
    ]
    assert f"\n{odd}\n" in run("members", "--course", COURSE, "--never-seen").stdout
    lines = run("members", "--never-seen", "--json").stdout.splitlines()
    assert [json.loads(line)["username"] for line in lines] == ["ivy", "Sam", "tom"]
    assert json.loads(lines[1])["similar"] == ["sam"]
    for line in run("members", "--json").stdout.splitlines():
        member = json.loads(line)
        assert (member["first_seen_at"] or "").endswith(" UTC") == (member["username"] == "sam")


def test_no_members(run: Run, database: Database, course: str) -> None:
    for name in ("ivy", "sam", "tom"):
        database.write(users.mark_seen, name)
    assert run("members", "--never-seen").stdout == "There are none.\n"
    assert run("members", "--never-seen", "--json").stdout == ""
    assert run("members", "--course=Typo", code=1).stderr == "ngshare: Course not found\n"
