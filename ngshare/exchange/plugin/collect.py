"""``nbgrader collect``: copy the students' submissions into the instructor's course directory.

One request lists the submissions, and one more downloads all that are needed.
"""

from __future__ import annotations

import errno
import os
import shutil
from datetime import datetime, timezone
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.exchange import abc
from nbgrader.utils import ignore_patterns

from ngshare.exchange.plugin.base import describe_os_error, is_folder_name
from ngshare.exchange.plugin.course_folders import (
    TIMESTAMP_FILE,
    matches_student,
    student_folder,
    students_parent,
    submission_time,
)
from ngshare.exchange.plugin.folder_replacement import finish_replacement, replace_folder
from ngshare.exchange.plugin.instructor import InstructorExchange
from ngshare.exchange.service_error import ServiceError
from ngshare.exchange.temporary_folders import temporary_folder
from ngshare.protocol.overview import SubmissionInfo
from ngshare.protocol.times import format_time, parse_time


class ExchangeCollect(
    InstructorExchange,
    abc.ExchangeCollect,  # type: ignore[misc]  # nbgrader is untyped
):
    """Collect the newest submission of each student, or with ``before_duedate`` the last in time.

    ``check_owner`` has no meaning: the service identifies those who submit.
    """

    def init_dest(self) -> None:
        """Choose the course, and ask the service for its submissions of the assignment."""
        super().init_dest()
        duedate = self._duedate() if self.before_duedate else None
        before = format_time(duedate) if duedate else None
        listed = self.client.collection(self.course, self.assignment, before=before)
        self.submissions = [
            submission
            for submission in listed
            if matches_student(self.coursedir, submission.student)
        ]

    def copy_files(self) -> None:
        """Download the submissions that are needed. A copy that is older is replaced at the end."""
        if not self.submissions:
            self.log.warning(
                "No submissions of '%s' for course '%s' to collect", self.assignment, self.course
            )
            return
        self.log.info(
            "Processing %d submissions of '%s' for course '%s'",
            len(self.submissions),
            self.assignment,
            self.course,
        )
        if needed := [each for each in self.submissions if self._is_needed(each)]:
            self._download(needed)
        self.fail_if_reported(len(self.submissions), "submissions were not collected")

    def _duedate(self) -> datetime | None:
        """Return the due date of the assignment in the gradebook, or None."""
        with Gradebook(self.coursedir.db_url, self.course) as gradebook:
            try:
                duedate = gradebook.find_assignment(self.assignment).duedate
            except MissingEntry:
                return None
        return duedate.replace(tzinfo=timezone.utc) if duedate else None

    def _is_needed(self, submission: SubmissionInfo) -> bool:
        """Return True if a submission is to be downloaded; log the reason otherwise."""
        student = submission.student
        if submission.removed:
            self._warn_of_removed(student)
            return False
        if not is_folder_name(student):
            self.report(student, "no folder can have the name of this student")
            return False
        try:
            if not self._is_newer(submission):
                return False
        except OSError as error:
            self.report(student, describe_os_error(error))
            return False
        return not self._is_too_large(student, submission.bytes)

    def _is_too_large(self, student: str, size: int) -> bool:
        """Return True, and report it, if a submission has more bytes than nbgrader copies."""
        limit: int = 1000 * self.coursedir.max_dir_size
        if size > limit:
            self.report(
                student,
                f"the submission has {size} bytes, more than the {limit} that "
                "c.CourseDirectory.max_dir_size allows",
            )
            return True
        return False

    def _warn_of_removed(self, student: str) -> None:
        self.log.warning(
            "Not collected, the student has left the course: %s %s", student, self.assignment
        )

    def _is_newer(self, submission: SubmissionInfo) -> bool:
        """Return True if the local copy is to be replaced by a submission, or missing."""
        student = submission.student
        folder = self._destination(student)
        finish_replacement(folder)
        if folder.exists() and not folder.is_dir():
            raise FileExistsError(errno.EEXIST, "a file is in the way, rename it", str(folder))
        if not _has_files(folder):
            return True
        collected, submitted = submission_time(folder), parse_time(submission.timestamp)
        if (self.update and (collected is None or submitted > collected)) or (
            self.before_duedate and submitted != collected
        ):
            return True
        reason = (
            "No newer submission to collect"
            if self.update
            else "Submission already exists, use --update to update"
        )
        self.log.info("%s: %s %s", reason, student, self.assignment)
        return False

    def _download(self, needed: list[SubmissionInfo]) -> None:
        """Download submissions in one stream; after a failure of the stream, one by one."""
        remaining = {submission.student: submission for submission in needed}

        def place(submission: SubmissionInfo, folder: Path) -> None:
            del remaining[submission.student]
            self._store(submission, folder)

        step = self.coursedir.submitted_directory
        with temporary_folder(students_parent(self.coursedir, step, self.assignment)) as parent:
            try:
                self.client.fetch_submissions(
                    self.course, self.assignment, needed, place, parent=parent
                )
            except ServiceError as error:
                if not self.is_about_one_student(error):
                    raise
                self.log.debug("The stream of submissions failed:", exc_info=True)
            for number, submission in enumerate(list(remaining.values())):
                self._download_alone(submission, parent / str(number))

    def _download_alone(self, submission: SubmissionInfo, folder: Path) -> None:
        """Download a submission that the stream did not bring, or report the reason."""
        student = submission.student
        try:
            self.client.fetch_submission(
                self.course, self.assignment, student, submission.timestamp, folder
            )
        except ServiceError as error:
            if not self.is_about_one_student(error):
                raise
            if error.status == 404 and error.message == "Student not found":
                self._warn_of_removed(student)  # a service of 0.6 lists the submission
            else:
                self.report(student, error.message)
        else:
            self._store(submission, folder)

    def _store(self, submission: SubmissionInfo, folder: Path) -> None:
        """Move a complete submission to its destination, in place of an older copy."""
        student = submission.student
        destination = self._destination(student)
        try:
            if (folder / TIMESTAMP_FILE).is_dir():
                self.report(
                    student,
                    f"the submission has a folder {TIMESTAMP_FILE}, and nbgrader needs a file of "
                    "this name; ask the student to rename the folder and to submit again",
                )
                return
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            if self._is_too_large(student, size):
                return
            self._remove_ignored_files(folder)
            (folder / TIMESTAMP_FILE).write_text(submission.timestamp)
            self._set_permissions(folder)
            verb = "Updating" if _has_files(destination) else "Collecting"
            self.log.info("%s submission: %s %s", verb, student, self.assignment)
            destination.parent.mkdir(parents=True, exist_ok=True)
            replace_folder(folder, destination)
        except OSError as error:
            self.log.debug("A submission could not be stored:", exc_info=True)
            self.report(student, describe_os_error(error))

    def _remove_ignored_files(self, tree: Path) -> None:
        """Remove what the instructor's configuration excludes, as nbgrader does."""
        coursedir = self.coursedir
        find_ignored = ignore_patterns(
            exclude=coursedir.ignore,
            include=coursedir.include,
            max_file_size=coursedir.max_file_size,
            log=self.log,
        )
        for folder, folders, files in os.walk(tree):
            for name in find_ignored(folder, folders + files):
                path = Path(folder, name)
                if name in folders:
                    folders.remove(name)
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def _set_permissions(self, tree: Path) -> None:
        """Let other instructors change the files if ``CourseDirectory.groupshared`` is set."""
        shared = self.coursedir.groupshared
        for folder, _, files in os.walk(tree):
            Path(folder).chmod(0o2775 if shared else 0o755)
            for name in files:
                Path(folder, name).chmod(0o664 if shared else 0o644)

    def _destination(self, student: str) -> Path:
        """Return the folder in the course directory for a student's submission."""
        step = self.coursedir.submitted_directory
        return student_folder(self.coursedir, step, student, self.assignment)


def _has_files(folder: Path) -> bool:
    """Return False for no folder, and for an empty one, which the older plugin leaves behind."""
    return folder.is_dir() and any(folder.iterdir())
