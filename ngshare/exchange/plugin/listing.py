"""``nbgrader list``, and the lists of nbgrader's Assignment List and formgrader.

One request tells about released assignments and the user's own submissions, however many courses
there are. Only a list of everybody's submissions, for instructors, takes one more per assignment.

The module is long because one class of nbgrader serves three lists and their removal.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from nbgrader.apps import ListApp
from nbgrader.exchange import abc
from traitlets import Bool

from ngshare.errors import BadRequest
from ngshare.exchange.connection import ServiceError
from ngshare.exchange.plugin.base import Exchange, has_wildcard, is_folder_name
from ngshare.protocol.overview import AssignmentInfo, CourseInfo, Overview, SubmissionInfo
from ngshare.protocol.times import format_time, parse_time

_CHUNK = 1 << 20

Entry = dict[str, Any]
"""An assignment, or a submission, with the keys that nbgrader's Assignment List reads."""


@dataclass(frozen=True, slots=True)
class _Submission:
    """A submission of the list. ``info`` is None if the service does not have it.

    notebooks: paths of the notebooks at its top, which exist only if there is a cached copy.
    """

    course: str
    student: str
    assignment: str
    timestamp: str
    folder: Path
    notebooks: list[Path]
    info: SubmissionInfo | None


class ExchangeList(Exchange, abc.ExchangeList):  # type: ignore[misc]  # nbgrader is untyped
    """List, or remove, released assignments, submissions, or the copies in the cache."""

    as_json = Bool(False, help="Print the list as JSON.").tag(config=True)

    def init_src(self) -> None:
        """Ask the service; nbgrader calls this first."""
        if self.inbound and self.remove:
            self.fail(
                "Submissions cannot be removed: ngshare keeps what students handed in. "
                "Run it again without --remove."
            )
        self.overview = self._fetch_overview()
        if not self.overview.courses:
            self.log.warning(
                "There are no courses to list: ngshare knows you as '%s', and no course has this "
                "name in its roster. Ask your instructor to add it.",
                self.overview.user,
            )

    def init_dest(self) -> None:
        """Do nothing: a list has no destination."""

    def copy_files(self) -> None:
        """Do nothing: a list copies no files."""

    def list_files(self) -> list[Entry]:
        """Log, and return, the list."""
        return self._list("Submitted assignments:", "Released assignments:")

    def remove_files(self) -> list[Entry]:
        """Log and return the list, and remove what is in it. Fail if something was not removed."""
        entries = self._list("Removing submitted assignments:", "Removing released assignments:")
        if self.cached:
            for submission in self._cached_submissions():
                shutil.rmtree(submission.folder)
            return entries
        failed = []
        for entry in entries:
            course, assignment = entry["course_id"], entry["assignment_id"]
            try:
                self.client.remove_assignment(course, assignment)
            except ServiceError as error:
                self.log.error("%s %s: %s", course, assignment, error.message)
                failed.append(f"{course} {assignment}")
        if failed:
            self.fail(f"Not removed: {', '.join(failed)}")
        return entries

    def _list(self, title_of_submissions: str, title_of_releases: str) -> list[Entry]:
        entries: list[Entry]
        if self.inbound or self.cached:
            self.log.info(title_of_submissions)
            entries = self._list_submissions()
            for entry in entries:
                for submission in entry["submissions"]:
                    self.log.info(_describe_submission(submission))
        else:
            self.log.info(title_of_releases)
            entries = []
            for course, assignment in self._releases():
                entries.append(self._release_entry(course.name, assignment))
                self.log.info(self._describe_release(course.name, assignment.name))
        if self.as_json:
            print(json.dumps(entries, indent=2))
        return entries

    def _fetch_overview(self) -> Overview:
        course = self.coursedir.course_id
        if not course or has_wildcard(course):
            return self.client.overview()
        try:
            return self.client.overview(course)
        except ServiceError as error:
            if not (self.cached and error.status in (403, 404)):
                raise
        return self.client.overview()  # the student has left a course that the cache has

    def _selected_courses(self) -> list[CourseInfo]:
        """Return the courses that nbgrader's options select, sorted by name."""
        courses = {course.name: course for course in self.overview.courses}
        return [courses[name] for name in sorted(_select(courses, self.coursedir.course_id))]

    def _releases(self) -> Iterator[tuple[CourseInfo, AssignmentInfo]]:
        """Yield the released assignments that nbgrader's options select, sorted by name."""
        for course in self._selected_courses():
            assignments = {assignment.name: assignment for assignment in course.assignments}
            for name in sorted(_select(assignments, self.coursedir.assignment_id)):
                yield course, assignments[name]

    def _release_entry(self, course: str, assignment: AssignmentInfo) -> Entry:
        folder = self.assignment_folder(course, assignment.name)
        fetched = self._is_fetched(course, assignment.name)
        if fetched:
            path, notebooks = str(folder), _local_notebooks(folder)
        else:
            # What has not been fetched has no path on this computer.
            path = f"{self.client.address.url}/assignment/{course}/{assignment.name}"
            notebooks = [Path(path, name) for name in _top_notebooks(assignment.notebooks)]
        if not notebooks:
            self.log.warning("No notebooks found in %s", path)
        status = "fetched" if fetched else "released"
        return {
            "course_id": course,
            "assignment_id": assignment.name,
            "status": "removed" if self.remove else status,
            "path": path,
            "notebooks": [_notebook_entry(notebook) for notebook in notebooks],
        }

    def _describe_release(self, course: str, assignment: str) -> str:
        fetched = self._is_fetched(course, assignment)
        return f"{course} {assignment}" + (" (already downloaded)" if fetched else "")

    def _is_fetched(self, course: str, assignment: str) -> bool:
        """Return True if the student's folder has this course's assignment."""
        if not is_folder_name(course) or not is_folder_name(assignment):
            return False
        folder = self.assignment_folder(course, assignment)
        return has_assignment(folder) and self.submission_cache.course_of(folder) in (None, course)

    def _list_submissions(self) -> list[Entry]:
        """Return an entry for each student and assignment, with the submissions oldest first."""
        submissions = list(self._inbound() if self.inbound else self._cached_submissions())
        if self.cached and not self.runs_in(ListApp):
            # The Assignment List shows what the student submitted from other computers, too.
            present = {(s.course, s.assignment, s.timestamp) for s in submissions if s.info}
            submissions += (
                s for s in self._own() if (s.course, s.assignment, s.timestamp) not in present
            )
        groups: dict[tuple[str, str, str], list[Entry]] = {}
        for submission in sorted(submissions, key=lambda s: s.timestamp):
            key = (submission.course, submission.student, submission.assignment)
            groups.setdefault(key, []).append(self._submission_entry(submission))
        return [
            {
                "course_id": course,
                "student_id": student,
                "assignment_id": assignment,
                "status": entries[0]["status"],
                "submissions": entries,
            }
            for (course, student, assignment), entries in sorted(groups.items())
        ]

    def _inbound(self) -> Iterator[_Submission]:
        """Yield submissions on the service: the user's own, or for instructors everybody's."""
        for course, assignment in self._releases():
            if course.role == "student":
                infos = assignment.submissions
            elif assignment.students_submitted == 0:
                infos = []
            else:
                infos = self.client.collection(course.name, assignment.name, every=True)
            yield from self._of_assignment(course.name, assignment.name, infos)

    def _own(self) -> Iterator[_Submission]:
        """Yield the user's own submissions on the service."""
        for course, assignment in self._releases():
            yield from self._of_assignment(course.name, assignment.name, assignment.submissions)

    def _of_assignment(
        self, course: str, assignment: str, infos: Iterable[SubmissionInfo]
    ) -> Iterator[_Submission]:
        infos = list(infos)
        students = set(_select([info.student for info in infos], self.coursedir.student_id))
        for info in infos:
            if info.student not in students:
                continue
            names = (course, info.student, assignment, info.timestamp)
            folder = self.submission_cache.copy_folder(*names)
            notebooks = [folder / name for name in graded_notebooks(info)]
            if not notebooks and folder.is_dir():
                notebooks = _local_notebooks(folder)  # a service of ngshare 0.6 does not tell
            yield _Submission(*names, folder, notebooks, info)

    def _cached_submissions(self) -> Iterator[_Submission]:
        """Yield the copies on this computer that nbgrader's options select."""
        copies = self.submission_cache.submissions()
        courses = set(_select([copy.course for copy in copies], self.coursedir.course_id))
        names = set(_select([copy.assignment for copy in copies], self.coursedir.assignment_id))
        students = set(_select([copy.student for copy in copies], self.coursedir.student_id))
        own = {
            (course.name, assignment.name, info.student, info.timestamp): info
            for course in self.overview.courses
            for assignment in course.assignments
            for info in assignment.submissions
        }
        for copy in copies:
            selected = copy.assignment in names and copy.student in students
            if selected and copy.course in courses:
                timestamp = _normalize_time(copy.timestamp)
                info = own.get((copy.course, copy.assignment, copy.student, timestamp))
                yield _Submission(
                    copy.course,
                    copy.student,
                    copy.assignment,
                    timestamp,
                    copy.folder,
                    _local_notebooks(copy.folder),
                    info,
                )

    def _submission_entry(self, submission: _Submission) -> Entry:
        entry = {
            "course_id": submission.course,
            "student_id": submission.student,
            "assignment_id": submission.assignment,
            "timestamp": submission.timestamp,
            "status": "removed" if self.remove else "submitted",
            "path": str(submission.folder),
        }
        notebooks = [_notebook_entry(path) for path in submission.notebooks]
        if not notebooks and self.overview.version:
            self.log.warning("No notebooks found in %s", submission.folder)
        if self.remove:
            return {**entry, "notebooks": notebooks}
        folder = self.assignment_folder(submission.course, submission.assignment)
        feedback = folder / "feedback" / submission.timestamp
        released = submission.info.feedback if submission.info else None
        digests = released.files if released else {}
        for notebook in notebooks:
            file = f"{notebook['notebook_id']}.html"
            notebook.update(_feedback_state(feedback / file, digests.get(file)))
        local = bool(notebooks) and all(nb["has_local_feedback"] for nb in notebooks)
        return {
            **entry,
            "notebooks": notebooks,
            "has_local_feedback": local,
            "has_exchange_feedback": bool(notebooks)
            and all(nb["has_exchange_feedback"] for nb in notebooks),
            "feedback_updated": any(nb["feedback_updated"] for nb in notebooks),
            "local_feedback_path": str(feedback) if local else None,
        }


def has_assignment(folder: Path) -> bool:
    """Return True if ``folder`` has more than the feedback that was fetched into it."""
    return folder.is_dir() and [path.name for path in folder.iterdir()] != ["feedback"]


def has_content(path: Path, digest: str) -> bool:
    """Return True if a file has this digest, its SHA-256 in hexadecimal digits."""
    sha256 = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                sha256.update(chunk)
    except OSError:
        return False
    return sha256.hexdigest() == digest


def _select(names: Iterable[str], pattern: str) -> list[str]:
    """Return the names that an option of nbgrader selects: one name, or a pattern with wildcards.

    A name that exists is not taken for a pattern, because names may have ``*``, ``?`` and ``[``.
    """
    names = list(names)
    if pattern in ("", "*"):
        return names
    return [name for name in names if name == pattern] or [
        name for name in names if fnmatchcase(name, pattern)
    ]


def graded_notebooks(info: SubmissionInfo) -> list[str]:
    """Return the sorted names of a submission's notebooks that nbgrader grades: those at its top.

    A service of ngshare 0.6 tells only those that have feedback.
    """
    files = info.feedback.files if info.feedback else {}
    feedback = (f"{path[:-5]}.ipynb" for path in files if path.endswith(".html"))
    return _top_notebooks(info.notebooks or feedback)


def _top_notebooks(paths: Iterable[str]) -> list[str]:
    """Return the notebooks at the top of a tree: nbgrader grades no others."""
    return sorted(path for path in paths if "/" not in path and not path.startswith("."))


def _local_notebooks(folder: Path) -> list[Path]:
    names = [path.name for path in folder.iterdir() if path.suffix == ".ipynb"]
    return [folder / name for name in _top_notebooks(names)]


def _notebook_entry(path: Path) -> Entry:
    return {"notebook_id": path.stem, "path": str(path)}


def _feedback_state(path: Path, digest: str | None) -> Entry:
    """Return what the Assignment List shows about a notebook's feedback.

    path: where it is when it has been fetched. digest: of what the service has, if anything.
    """
    local = path.is_file()
    return {
        "has_local_feedback": local,
        "has_exchange_feedback": digest is not None,
        "local_feedback_path": str(path) if local else None,
        "feedback_updated": local and digest is not None and not has_content(path, digest),
    }


def _describe_submission(entry: Entry) -> str:
    text = "{course_id} {student_id} {assignment_id} {timestamp}".format(**entry)
    if entry["status"] != "submitted":
        return text
    if entry["has_local_feedback"] and not entry["feedback_updated"]:
        return f"{text} (feedback already fetched)"
    if entry["has_exchange_feedback"]:
        return f"{text} (feedback ready to be fetched)"
    return f"{text} (no feedback available)"


def _normalize_time(text: str) -> str:
    """Return a time as the service writes it; unchanged if it is none."""
    try:
        return format_time(parse_time(text))
    except BadRequest:
        return text
