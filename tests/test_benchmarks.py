"""The benchmarks measure what they say; how fast anything is, is no test."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs

import pytest
from sqlalchemy import func, select

from benchmarks import content, growth, hub, load, memory, plugins, processes, profile, report
from benchmarks.bench import Bench, taking_turns
from benchmarks.scenarios import Scenario, percentile
from benchmarks.sites import COLD, Ours, submission_form
from ngshare.db.engine import make_engine
from ngshare.db.models import Assignment, AuditEntry, Course, File, Membership, Submission, Tree
from ngshare.db.urls import parse_url
from ngshare.web.tree_cache import TreeCache
from tests.require import require

ROOT = Path(__file__).parents[1]


def sent(request: load.Request, serial: int) -> dict[str, bytes]:
    """The files that a request carries, by path."""
    parts = next(load.sending(load.Load(0, [request], first_serial=serial)))
    return files_of(b"".join(parts).partition(b"\r\n\r\n")[2].decode())


def files_of(form: str) -> dict[str, bytes]:
    """The files in a form, by path."""
    return {
        file["path"]: base64.b64decode(file["content"])
        for file in json.loads(parse_qs(form)["files"][0])
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


def test_a_resubmission_sends_one_changed_file_and_its_digest() -> None:
    files = content.assignment("student00001")
    request = load.post_tree("/api/tree/submission/c/a", files, user="student00001")
    digests = []
    for serial in (1, 2):
        whole = b"".join(next(load.sending(load.Load(0, [request], first_serial=serial))))
        head, _, body = whole.partition(b"\r\n\r\n")
        assert f"Idempotency-Key: {serial:06}" in head.decode()
        assert f"Content-Length: {len(body)}\r\n" in head.decode()
        line, _, data = body.partition(b"\n")
        assert json.loads(data)["nbformat"] == 4
        first, *others = json.loads(line)["files"]
        assert first == {
            **{"path": "problem1.ipynb", "sent": True, "size": len(data)},
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        digests.append(first["sha256"])
        assert [(file["path"], file["sha256"]) for file in others] == [
            (path, hashlib.sha256(unchanged).hexdigest()) for path, unchanged in files[1:]
        ]
        assert len(data) == len(files[0][1])
    assert digests[0] != digests[1]


def test_students_have_work_of_their_own_and_the_same_in_every_run() -> None:
    assert content.assignment("a") == content.assignment("a")
    for one, other in zip(content.assignment("a"), content.assignment("b"), strict=True):
        assert one[0] == other[0]
        assert one[1] != other[1]


def test_a_whole_run_measures_what_was_chosen(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "benchmarks",
                "--quick",
                "--only",
                "submit,list,resubmit,unchanged",
            ),
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
    assert results.keys() == {"submit", "list", "resubmit", "at rest", "unchanged"}
    for scenario in ("submit", "list", "resubmit"):
        assert results[scenario].keys() == {"ngshare", "bare"}
        for row in results[scenario].values():
            assert row["requests"] > 0
            assert row["rate"] > 0
            assert row["health"] > 0
    assert results["submit"]["ngshare"]["disk"] > 300_000, "each submission is stored"
    assert 50_000 < results["resubmit"]["ngshare"]["disk"] < 150_000, "the changed file is"
    changed, whole = (results["unchanged"][name] for name in ("changed", "whole, ours"))
    assert 4 * 60_000 < changed["sent"] < 4 * 65_000
    assert whole["sent"] > 5_000_000
    assert "### Submit" in done.stdout
    assert not list(tmp_path.glob("ngshare-bench-*")), "nothing is left behind"


def test_commands_of_nbgrader_are_measured_with_both_plugins(
    tmp_path: Path,
) -> None:
    require(hub.available(), "configurable-http-proxy", ".ci/get-proxy")
    require(plugins.OLD.exists(), "nbgrader with ngshare_exchange", ".ci/get-nbgrader")
    bench = Bench(tmp_path, ["plugins"], ["ngshare"], 0.3, 1, True)
    bench.run()
    rows = bench.results["plugins"]
    assert rows.keys() == {"ours", "older"}
    for commands in rows.values():
        assert commands["list"]["shown"] == 2 * 2 + 2
        assert commands["collect"]["shown"] == 4
    assert 0 < rows["ours"]["list"]["requests"] <= 2 < rows["older"]["list"]["requests"]
    assert "(bar ≤ 2): met" in bench.text[1]


def test_growth_adds_as_many_submissions_as_it_says(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "TIMES", 1)
    monkeypatch.setattr(growth, "COURSE_SUBMISSIONS", growth.CLASS * growth.ASSIGNMENTS)
    # One course row by row, two copies, a part of one, and the last.
    late = growth.grow_to(database_url, 6_234)
    engine = make_engine(parse_url(database_url))
    with engine.connect() as connection:
        counted = [
            connection.scalar(select(func.count()).select_from(table))
            for table in (Submission, AuditEntry)
        ]
        courses = connection.scalar(select(func.count()).select_from(Course))
        last = connection.execute(
            select(Course.name, func.count())
            .join(Assignment, Assignment.course_id == Course.id)
            .join(Submission, Submission.assignment_id == Assignment.id)
            .group_by(Course.id)
            .order_by(Course.id.desc())
        ).first()
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
    assert courses == 5
    assert last == (late, growth.CLASS)
    assert (trees_without_files, by_strangers) == (0, 0)


def test_a_database_grows_again_and_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "TIMES", 1)
    monkeypatch.setattr(growth, "COURSE_SUBMISSIONS", growth.CLASS * growth.ASSIGNMENTS)
    engine = make_engine(parse_url(database_url))
    for wanted in (2_500, 5_000, 7_500):  # each leaves the same part of a course
        growth.grow_to(database_url, wanted)
        with engine.connect() as connection:
            found = connection.scalar(select(func.count()).select_from(Submission))
        assert found == wanted
    engine.dispose()


def test_lists_that_show_what_an_entry_costs_are_as_long_as_they_say(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "LENGTHS", (3, 30))
    assert growth.add_long_lists(database_url) == (3, 30)
    engine = make_engine(parse_url(database_url))
    with engine.connect() as connection:
        found = connection.execute(
            select(Course.name, func.count(), func.count(Submission.student_id.distinct()))
            .join(Assignment, Assignment.course_id == Course.id)
            .join(Submission, Submission.assignment_id == Assignment.id)
            .group_by(Course.id)
            .order_by(Course.id)
        ).all()
    engine.dispose()
    assert [tuple(row) for row in found] == [("long3", 3, 3), ("long30", 30, 30)]


def test_trees_that_are_fetched_in_turn_do_not_fit_into_what_is_kept() -> None:
    encoded = len(content.encode_tree(content.assignment("released")))
    assert COLD * encoded > 1.2 * TreeCache().limit


def test_large_uploads_are_of_several_students_and_differ() -> None:
    site = cast(Ours, SimpleNamespace(prefix="/api/", students=["ann", "bob"]))
    requests = memory.submissions(site, 2, 100_000)
    whole = [b"".join(parts) for parts in load.sending(load.Load(0, requests))]
    forms = []
    for one in whole:
        head, _, form = one.partition(b"\r\n\r\n")
        assert f"Content-Length: {len(form)}".encode() in head
        forms.append(form.decode())
    assert [parse_qs(form)["user"] for form in forms] == [["ann"], ["bob"]]
    first, second = (files_of(form)["0.bin"] for form in forms)
    assert len(first) == len(second) == 100_000
    assert first != second
    assert first[6:] == second[6:]


def test_a_client_that_stands_in_line_for_its_core_knows_it() -> None:
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("this kernel does not count it")
    usable = os.sched_getaffinity(0)
    core = max(usable)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(busy.pid, {core})
        os.sched_setaffinity(0, {core})
        used, waited = load.client_time()
        until = time.monotonic() + 30
        while load.client_time()[1] < waited + 0.05 and time.monotonic() < until:
            pass
        assert load.client_time()[1] >= waited + 0.05
        assert load.client_time()[0] > used
    finally:
        os.sched_setaffinity(0, usable)
        busy.kill()
        busy.wait()


def test_the_cpu_of_a_process_and_its_children_is_counted(tmp_path: Path) -> None:
    work = "import time\nuntil = time.process_time() + 0.2\nwhile time.process_time() < until: pass"
    text = f"import subprocess, sys, time\n{work}\n"
    text += f"subprocess.run([sys.executable, '-c', {work!r}])\nprint(flush=True)\ntime.sleep(60)"
    process = processes.Process([sys.executable, "-c", text], tmp_path, name="busy")
    try:
        until = time.monotonic() + 30
        while not process.log.read_text() and time.monotonic() < until:
            time.sleep(0.05)
        assert process.log.read_text()
        assert 0.38 < process.cpu() < 2
    finally:
        process.stop()


def test_every_site_begins_a_round_as_often_as_the_others() -> None:
    sites: list[Any] = ["peer", "ngshare", "bare"]
    orders = [taking_turns(sites, turn) for turn in range(3)]
    assert {order[0] for order in orders} == set(sites)
    assert all(tuple(order) in permutations(sites) for order in orders)


def test_a_profile_names_threads_and_functions() -> None:
    stacks = Counter({("files_0", "a (x.py)", "b (x.py)"): 3, ("MainThread", "a (x.py)"): 1})
    lines = [" ".join(line.split()) for line in profile.show(stacks, 5).splitlines()]
    for expected in ("75.0% files", "75.0% b (x.py)", "100.0% a (x.py)"):
        assert expected in lines


ROW = {"rate": 60.0, "p99": 0.2, "health": 0.01}
WHOLE_ROW = {
    **ROW,
    **{"lowest": 50.0, "highest": 70.0, "p50": 0.1, "cpu": 0.001, "memory": 2.0**26},
    **{"disk": 1000.0, "client_used": 0.1, "client_waited": 0.3},
}


def test_every_number_stands_beside_its_ratio_to_peer_and_bare() -> None:
    half = {**WHOLE_ROW, **{name: WHOLE_ROW[name] / 2 for name in ("rate", "p50", "disk")}}
    lines = report.comparison({"peer": half, "ngshare": WHOLE_ROW, "bare": WHOLE_ROW}).splitlines()
    assert lines[-2].split(" | ")[:7] == [
        *("| ngshare / peer", "2.00x", "2.00x", "1.00x", "1.00x", "1.00x", "2.00x"),
    ]
    assert lines[-1].startswith("| ngshare / bare | 1.00x |")


def test_a_row_that_the_client_may_have_limited_is_marked() -> None:
    free = report.comparison({"ngshare": WHOLE_ROW})
    assert "10% + 30%" in free
    assert report.CLIENT_NOTE not in free
    bound = report.comparison({"ngshare": {**WHOLE_ROW, "client_waited": 0.41}})
    assert "**10% + 41%**" in bound
    assert report.CLIENT_NOTE in bound


def test_a_read_that_slows_down_is_said_to() -> None:
    sizes = {
        count: {"reads": {"fetch": 0.001, "courses": taken}, "health": health}
        for count, taken, health in (("1000", 0.001, 0.01), ("10000", 0.002, 0.06))
    }
    text, found = report.growth(sizes)
    assert "| courses | 1.00 ms | 2.00 ms | 2.00 |" in text
    assert [met for met, _ in found] == [True, False, False]


def test_a_list_may_grow_with_its_own_length_and_a_part_of_it_not_at_all() -> None:
    lengths = {
        str(count): {"reads": {"all submissions": every, "100 of the submissions": part}}
        | {"health": 0.01}
        for count, every, part in ((10, 0.01, 0.001), (110, 0.11, 0.001), (1110, 1.11, 0.002))
    }
    _, found = report.long_lists(lengths)
    assert [met for met, _ in found] == [True, False, True]
    lengths["1110"]["reads"]["all submissions"] = 2.0
    _, found = report.long_lists(lengths)
    assert [met for met, _ in found] == [False, False, True]


def test_memory_does_not_grow_with_the_clients() -> None:
    def row(count: int, peak: int) -> dict[str, Any]:
        sent = {"files": 1, "count": count, "size": 20_000_000, "stored": count}
        mib = {"idle": 100 * 2**20, "peak": peak * 2**20, "after": 100 * 2**20}
        return sent | mib | {"refused": 0, "cut": 0, "seconds": 1.0, "health": 0.01}

    stuck = {"clients": 400, "idle": 100.0 * 2**20, "peak": 150.0 * 2**20}
    small = {"alone": 0.2, "beside": 0.25}
    text, found = report.uploads([row(10, 150), row(100, 190)], stuck, small)
    assert "| 100 of 1 x 20 MB |" in text
    assert all(met for met, _ in found)
    small["beside"] = 0.31
    _, found = report.uploads(
        [row(10, 150), row(100, 210)], {**stuck, "peak": 200.0 * 2**20}, small
    )
    assert [met for met, _ in found] == [True, True, True, False, False, False]


def test_bytes_are_compared_with_those_of_all_submissions_by_the_compatible_protocol() -> None:
    counted: dict[str, dict[str, Any]] = {
        "changed": {"sent": 1e6, "stored": 3e6},
        "whole, ours": {"sent": 2e6, "stored": 1e6},
        "whole, peer": {"sent": 1e7, "stored": 2e7},
    }
    text, found = report.unchanged(10, counted)
    assert "| whole, peer | 100.0 MB | 200.0 MB |" in text
    assert [met for met, _ in found] == [False, True, False]


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
