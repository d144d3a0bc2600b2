"""``nbgrader release_assignment``: what it prints and releases, as with nbgrader's own exchange."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exchange.conftest import Compare
from tests.exchange.plugin.computers import (
    COURSE,
    NOTEBOOK,
    STUDENT,
    Computer,
    Files,
    Site,
    write_files,
)
from tests.exchange.plugin.teaching import ASSIGNMENT, course_directory, submit

FILES = {"p1.ipynb": NOTEBOOK, "data/x.txt": b"x", "data/empty": b""}


def teaching(site: Site, *settings: str, files: Files | None = None) -> Computer:
    """Return the computer of an instructor with an assignment that is ready to be released."""
    site.backend.create_course(COURSE, STUDENT)
    ada = course_directory(site, *settings)
    ada.write(f"release/{ASSIGNMENT}", FILES if files is None else files)
    return ada


def fetched(site: Site, assignment: str = ASSIGNMENT) -> Files:
    """Return the released files, as a student fetches them."""
    sam = site.computer()
    sam.succeed("fetch_assignment", assignment, "--course", COURSE)
    return sam.files(assignment)


def test_releases_once_and_again_with_force(same: Compare) -> None:
    def scenario(site: Site) -> object:
        ada = teaching(site)
        results: list[object] = [ada.succeed("release_assignment", ASSIGNMENT).messages]
        results.append(ada.fail("release_assignment", ASSIGNMENT))
        (ada.work / "release/ps1/data/x.txt").write_text("changed")
        (ada.work / "release/ps1/data/empty").unlink()
        results.append(ada.fail("release_assignment", f"--assignment={ASSIGNMENT}"))
        results.append(fetched(site))
        for option in ("--force", "-f"):
            messages = ada.succeed("release_assignment", ASSIGNMENT, option).messages
            results.append(messages[-1])  # ngshare need not know if it overwrites something
            results.append(fetched(site))
        return results

    results = same(scenario)
    assert results[1] == "Destination already exists, add --force to overwrite: abc101 ps1"
    assert results[5] == {"p1.ipynb": NOTEBOOK, "data/x.txt": b"changed"}


def test_force_releases_what_was_not_released(same: Compare) -> None:
    def scenario(site: Site) -> object:
        ada = teaching(site)
        return ada.succeed("release_assignment", ASSIGNMENT, "--force").messages, fetched(site)

    same(scenario)


def test_says_that_the_student_version_is_missing(same: Compare) -> None:
    def scenario(site: Site) -> object:
        ada = teaching(site)
        ada.write("source/ps2", FILES)
        return [ada.fail("release_assignment", name) for name in ("ps2", "ps3")]

    generate, _ = same(scenario)
    assert generate.endswith("run `nbgrader generate_assignment` first.")


def test_suggests_a_similar_assignment(site: Site) -> None:
    outcome = teaching(site).run("release_assignment", "ps")
    assert outcome.code == 1
    assert any(line.endswith("Did you mean: ps1") for line in outcome.log)


def test_excludes_what_the_configuration_excludes(same: Compare) -> None:
    def scenario(site: Site) -> object:
        files = {
            **FILES,
            ".ipynb_checkpoints/p1.ipynb": NOTEBOOK,
            "data/.ipynb_checkpoints/p1.ipynb": NOTEBOOK,
            "data/a.pyc": b"1",
            "feedback/x.html": b"2",
            "large": bytes(1001),
            "fits": bytes(1000),
        }
        ada = teaching(site, "c.CourseDirectory.max_file_size = 1", files=files)
        ada.succeed("release_assignment", ASSIGNMENT)
        return fetched(site)

    assert set(same(scenario)) == {*FILES, "fits"}


def test_a_directory_that_is_too_large_is_refused(site: Site) -> None:
    ada = teaching(site, "c.CourseDirectory.max_dir_size = 1", files={"large": bytes(1001)})
    assert "max_dir_size" in ada.fail("release_assignment", ASSIGNMENT)


@pytest.mark.parametrize("name", ["a [b] (c)*?", "50% #1", "o'hara", "ü", "u\u0308", "back\\slash"])
def test_releases_assignments_with_unusual_names(site: Site, name: str) -> None:
    ada = teaching(site)
    ada.write(f"release/{name}", {"p1.ipynb": NOTEBOOK, f"{name.replace(chr(92), '')}/x": b"1"})
    ada.succeed("release_assignment", name)
    assert len(fetched(site, name)) == 2


def test_a_refused_replacement_leaves_the_old_release(site: Site) -> None:
    ada = teaching(site)
    ada.succeed("release_assignment", ASSIGNMENT)
    before = fetched(site)
    # The local check finds nothing wrong with it, and the service refuses it.
    site.service.service.max_files = 2
    assert ada.fail("release_assignment", ASSIGNMENT, "--force")
    assert fetched(site) == before


def test_a_release_keeps_the_submissions(site: Site) -> None:
    ada = teaching(site)
    ada.succeed("release_assignment", ASSIGNMENT)
    submit(site, STUDENT, FILES)
    ada.succeed("release_assignment", ASSIGNMENT, "--force")
    assert len(site.backend.submissions(COURSE, ASSIGNMENT, STUDENT)) == 1


def test_a_link_out_of_the_assignment_is_named(site: Site) -> None:
    ada = teaching(site)
    Path(ada.work, "release", ASSIGNMENT, "link").symlink_to("/etc/hostname")
    assert "link" in ada.fail("release_assignment", ASSIGNMENT)
    assert "Assignment not found" in site.computer().fail(
        "fetch_assignment", ASSIGNMENT, "--course", COURSE
    )


def test_a_student_may_not_release(site: Site) -> None:
    teaching(site)
    sam = course_directory(site, user=STUDENT)
    write_files(sam.work / "release" / ASSIGNMENT, FILES)
    assert sam.fail("release_assignment", ASSIGNMENT)
