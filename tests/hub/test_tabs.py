"""nbgrader's tabs in JupyterLab and Notebook, in real servers behind a real Hub, by clicking."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.hub.jupyter_servers import (
    CHROMIUM,
    CHROMIUM_OPTIONS,
    Person,
    configure_servers,
    ngshare_command,
)
from tests.hub.running import RunningHub, wait_for
from tests.require import require

COURSE = "physics"

expect.set_options(timeout=60_000)


@pytest.fixture
def lab_hub(proxy_program: Path, tmp_path: Path) -> Iterator[RunningHub]:
    """A Hub whose users have real servers, with nbgrader and its plugin."""
    site = configure_servers(tmp_path / "nbgrader")
    hub = RunningHub(tmp_path, proxy_program, site=site)
    try:
        hub.start()
        yield hub
    finally:
        hub.stop()


@pytest.fixture
def browser() -> Iterator[Browser]:
    require(Path(CHROMIUM).exists(), "the browser Chromium", "apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_OPTIONS))
        yield browser
        browser.close()


def write_notebook(path: Path) -> None:
    """Write an assignment's notebook, as an instructor does with the tab Create Assignment."""
    v4 = nbformat.v4
    solution = {"schema_version": 3, "solution": True, "grade": False, "locked": False}
    test = {"schema_version": 3, "solution": False, "grade": True, "locked": True, "points": 3}
    cells = [
        v4.new_code_cell(
            "### BEGIN SOLUTION\nanswer = 42\n### END SOLUTION",
            metadata={"nbgrader": {**solution, "grade_id": "answer", "task": False}},
        ),
        v4.new_code_cell(
            "assert answer == 42",
            metadata={"nbgrader": {**test, "grade_id": "test", "task": False}},
        ),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(v4.new_notebook(cells=cells, metadata=kernel), path)


def test_a_course_by_clicking(lab_hub: RunningHub, browser: Browser, tmp_path: Path) -> None:
    hub = lab_hub
    for name in ("ada", "sam"):
        hub.api("POST", f"users/{name}")
        hub.api("POST", f"users/{name}/server")
    shots = Path(os.environ.get("NGSHARE_SCREENSHOTS") or tmp_path / "screenshots")
    ada = Person(hub, browser.new_context(), "ada", shots)
    sam = Person(hub, browser.new_context(), "sam", shots)
    try:
        create_courses(ada)
        choose_course(ada)
        add_student(ada)
        release_assignment(ada)
        submit_assignment(sam)
        grade_submission(ada)
        read_feedback(sam)
    except BaseException:
        ada.shot("failure-ada")
        sam.shot("failure-sam")
        raise


def create_courses(ada: Person) -> None:
    """As an admin of ngshare, create courses in a terminal, whose login shell resets PATH."""
    ada.open("lab")
    ada.page.locator(".jp-LauncherCard", has_text="Terminal").click()
    ada.page.locator(".jp-Terminal .xterm-helper-textarea").focus()
    create = f"{ngshare_command()} course create"
    ada.page.keyboard.type(f"{create} {COURSE} ada; {create} maths ada\n")
    wait_for(lambda: "maths" in ada.ask("courses"), "the courses exist")
    ada.shot("1-terminal")


def choose_course(ada: Person) -> None:
    """As the instructor of two courses, choose one in formgrader."""
    ada.open_tab("Formgrader")
    ada.formgrader.get_by_role("button", name="maths").wait_for()
    ada.shot("2-courses")
    ada.formgrader.get_by_role("button", name=COURSE).click()
    expect(ada.formgrader.get_by_text(f"Course: {COURSE}")).to_be_visible()
    expect(ada.formgrader.get_by_role("link", name="Change course")).to_be_visible()


def add_student(ada: Person) -> None:
    """Add a student to the roster."""
    grader = ada.formgrader
    grader.get_by_role("link", name="Manage Students").click()
    expect(grader.locator("table.dataTable")).to_be_visible()  # the list was loaded
    grader.get_by_role("link", name="Add new student").click()
    grader.locator("#add-student-modal input.id").fill("sam")
    grader.locator("#add-student-modal").get_by_text("Save").click()
    expect(grader.locator("td.id", has_text="sam")).to_be_visible()
    wait_for(lambda: "sam" in ada.ask(f"students/{COURSE}"), "sam is in the roster")
    ada.shot("3-students")


def release_assignment(ada: Person) -> None:
    """Create an assignment in formgrader, and release it."""
    grader = ada.formgrader
    grader.get_by_role("link", name="Manage Assignments").click()
    grader.get_by_role("link", name="Add new assignment").click()
    grader.locator("#add-assignment-modal input.name").fill("ps1")
    grader.locator("#add-assignment-modal").get_by_text("Save").click()
    expect(grader.locator("td.name", has_text="ps1")).to_be_visible()
    folder = ada.home / COURSE / "source" / "ps1"
    wait_for(folder.is_dir, "formgrader created the folder")
    write_notebook(folder / "problem.ipynb")
    grader.locator("td.assign a").click()
    ada.confirm("Successfully created")
    grader.locator("td.release a").click()
    ada.confirm("Successfully released")
    expect(grader.locator("td.status", has_text="released")).to_be_visible()
    ada.shot("4-released")


def submit_assignment(sam: Person) -> None:
    """As a student, fetch and submit in Notebook, where no tab for instructors is offered."""
    sam.open("tree")
    assert sam.menu() == ["Assignment List"]
    sam.shot("5-menu")
    sam.page.keyboard.press("Escape")
    sam.open_tab("Assignment List")
    assignments = sam.page.locator("#assignments")
    assignments.get_by_role("button", name="Fetch", exact=True).click()
    assignments.get_by_role("button", name="Submit").click()
    expect(sam.page.locator("#submitted_assignments_list .list_item").first).to_contain_text("ps1")
    sam.shot("6-submitted")


def grade_submission(ada: Person) -> None:
    """As the instructor, collect and grade, now in Notebook, and release feedback.

    At the end, open the page on which a submission is graded by hand.
    """
    ada.open("tree")
    ada.open_tab("Formgrader")
    grader = ada.formgrader
    expect(grader.get_by_text(f"Course: {COURSE}")).to_be_visible()  # the choice is remembered
    expect(grader.locator("td.num-submissions")).to_have_text("1")  # which is not collected yet
    grader.locator("td.collect a").click()
    ada.confirm("Successfully collected")
    grader.locator("td.num-submissions a").click()
    grader.locator("td.autograde a").click()
    ada.confirm("Successfully autograded")
    expect(grader.locator("td.score")).to_have_text("0 / 3")
    ada.shot("7-graded")
    grader.get_by_role("link", name="Manage Assignments").click()
    expect(grader.locator("h1", has_text="Manage Assignments")).to_be_visible()
    grader.locator("td.generate-feedback a").click()
    ada.confirm("Successfully generated feedback")
    grader.locator("td.release-feedback a").click()
    ada.confirm("Successfully released feedback")
    grader.get_by_role("link", name="Manual Grading").click()
    expect(grader.locator("h1", has_text="Manual Grading")).to_be_visible()
    for link in ("ps1", "problem", "Submission #1"):
        grader.get_by_role("link", name=link).click()
    expect(grader.get_by_text("Student's answer")).to_be_visible()
    ada.shot("8-graded-by-hand")


def read_feedback(sam: Person) -> None:
    """As the student, fetch the feedback, now in JupyterLab, and read it."""
    sam.open("lab")
    sam.open_tab("Assignment List")
    expect(sam.page.get_by_text("(feedback available to fetch)")).to_be_visible()
    sam.page.get_by_role("button", name="Fetch Feedback").click()
    sam.page.get_by_text("(view feedback)").click()
    sam.page.locator(".jp-DirListing-item", has_text="problem.html").dblclick()
    feedback = sam.page.frame_locator("iframe.jp-HTMLViewer, .jp-HTMLViewer iframe")
    expect(feedback.get_by_text("Score: 0.0 / 3.0").first).to_be_visible()
    sam.shot("9-feedback")
