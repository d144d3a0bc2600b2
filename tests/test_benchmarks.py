"""The benchmarks measure what they say; how fast anything is, is no test."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from sqlalchemy import func, select

from benchmarks import content, growth, load, report
from benchmarks.scenarios import Scenario, percentile
from benchmarks.sites import submission_form
from ngshare.database import make_engine, parse_url
from ngshare.models import Assignment, AuditEntry, Course, File, Membership, Submission, Tree

ROOT = Path(__file__).parents[1]


def sent(request: load.Request, serial: int) -> dict[str, bytes]:
    """The files that a request carries, by path."""
    parts = next(load.sending(load.Load(0, [request], first_serial=serial)))
    body = b"".join(parts).partition(b"\r\n\r\n")[2].decode()
    return {
        file["path"]: base64.b64decode(file["content"])
        for file in json.loads(parse_qs(body)["files"][0])
    }


def test_every_request_carries_other_files_which_are_still_what_they_seem() -> None:
    body, marks = submission_form("student00001")
    request = load.post_body("/api/submission/c/a", body, marks=marks)
    first, second = sent(request, 1), sent(request, 2)
    assert first.keys() == second.keys()
    for path in first:
        assert first[path] != second[path]
        assert len(first[path]) == len(second[path])
    assert sum(map(len, first.values())) == pytest.approx(320_000, rel=0.02)
    for files in (first, second):
        assert json.loads(files["problem1.ipynb"])["nbformat"] == 4
    assert sent(request, 1) == first


def test_students_have_work_of_their_own_and_the_same_in_every_run() -> None:
    assert content.assignment("a") == content.assignment("a")
    for one, other in zip(content.assignment("a"), content.assignment("b"), strict=True):
        assert one[0] == other[0]
        assert one[1] != other[1]


def test_a_whole_run_measures_what_was_chosen(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks", "--quick", "--only", "submit,list"),
            *("--sites", "ngshare,bare", "--seconds", "0.3"),
            *("--folder", str(tmp_path), "--results", str(tmp_path / "results")),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "is in memory" in done.stderr:
        pytest.skip("pytest's folder is in memory, where the benchmarks refuse to run")
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "results").glob("*.json")
    results = json.loads(path.read_text())["results"]
    assert results.keys() == {"submit", "list", "at rest"}
    for scenario in ("submit", "list"):
        assert results[scenario].keys() == {"ngshare", "bare"}
        for row in results[scenario].values():
            assert row["requests"] > 0
            assert row["rate"] > 0
            assert row["health"] > 0
    assert results["submit"]["ngshare"]["disk"] > 300_000, "each submission is stored"
    assert "### Submit" in done.stdout
    assert not list(tmp_path.glob("ngshare-bench-*")), "nothing is left behind"


def test_growth_adds_as_many_submissions_as_it_says(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "TIMES", 1)
    monkeypatch.setattr(growth, "COURSE_SUBMISSIONS", growth.CLASS * growth.ASSIGNMENTS)
    growth.grow_to(database_url, 6_234)  # one course row by row, two copies, and a part of one
    engine = make_engine(parse_url(database_url))
    with engine.connect() as connection:
        counted = [
            connection.scalar(select(func.count()).select_from(table))
            for table in (Submission, AuditEntry)
        ]
        courses = connection.scalar(select(func.count()).select_from(Course))
        trees_without_files = connection.scalar(
            select(func.count()).select_from(Tree).where(Tree.id.not_in(select(File.tree_id)))
        )
        by_strangers = connection.scalar(
            select(func.count())
            .select_from(Submission)
            .join(Assignment, Assignment.id == Submission.assignment_id)
            .outerjoin(
                Membership,
                (Membership.course_id == Assignment.course_id)
                & (Membership.user_id == Submission.student_id),
            )
            .where(Membership.id.is_(None))
        )
    engine.dispose()
    assert counted == [6_234, 6_234]
    assert courses == 4
    assert (trees_without_files, by_strangers) == (0, 0)


ROW = {"rate": 60.0, "p99": 0.2, "health": 0.01}


def test_a_bar_that_is_missed_is_said_to_be() -> None:
    scenario = Scenario("fetch", "fetch", lambda site: [], 6)
    rows = {
        "ngshare": {**ROW, "rate": 59.0},
        "peer": {**ROW, "rate": 10.0, "p99": 1.0},
        "bare": ROW,
    }
    said = report.verdicts(scenario, rows)
    assert [met for met, _ in said] == [False, True, True, True]
    assert said[0][1] == "5.9x the peer (bar ≥ 6x): **missed**"


def test_a_late_answer_about_health_counts_for_those_that_waited_behind_it() -> None:
    assert load.waits(0.05) == pytest.approx([0.05, 0.03, 0.01])
    assert percentile([0.1] * 98 + [5.0, 6.0], 0.99) == 6.0


def test_results_go_between_their_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.publish("new", page)
    assert page.read_text() == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    assert report.BEGIN in (ROOT / "docs" / "performance.md").read_text()
