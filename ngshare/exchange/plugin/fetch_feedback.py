"""``nbgrader fetch_feedback``: get the feedback on all submissions of an assignment.

The service knows them, so that the feedback arrives on computers that submitted nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nbgrader.exchange import abc

from ngshare.exchange.connection import ServiceError
from ngshare.exchange.plugin.base import Exchange, has_wildcard
from ngshare.exchange.plugin.listing import graded_notebooks, has_content
from ngshare.exchange.temporary_folders import temporary_folder
from ngshare.protocol.overview import FeedbackInfo, SubmissionInfo


class ExchangeFetchFeedback(Exchange, abc.ExchangeFetchFeedback):  # type: ignore[misc]  # untyped
    """Fetch the feedback on each submission into ``ASSIGNMENT/feedback/TIME/``."""

    def init_src(self) -> None:
        """Ask the service for the submissions; nbgrader calls this first."""
        self.course = self.require_course("student")
        self.assignment = self.require_folder_name(self.coursedir.assignment_id.rstrip("/"))
        student = self.coursedir.student_id
        if student not in ("", "*") and has_wildcard(student):
            self.fail(f"The student ID should contain no '*'; got {student}")
        self.submissions = self._fetch_submissions(student)
        if not self.submissions:
            self.log.warning(
                "There are no submissions of '%s' to give feedback on.", self.assignment
            )

    def init_dest(self) -> None:
        """Decide on the folder."""
        folder = self.assignment_folder(self.course, self.assignment)
        self.require_folder_of_course(folder, self.course)
        self.dest_path = folder / "feedback"

    def copy_files(self) -> None:
        """Fetch what is new or has changed. Fail at the end if the feedback on one was refused."""
        self.log.info("Source: %s", self.client.address.url)
        self.log.info("Destination: %s", self.dest_path)
        failed = []
        for submission in self.submissions:
            self._report(submission)
            if submission.feedback is None:
                continue
            try:
                self._fetch(submission, submission.feedback)
            except (ServiceError, OSError) as error:
                self.log.debug("The feedback could not be fetched:", exc_info=True)
                self.log.error("Feedback on the submission at %s: %s", submission.timestamp, error)
                failed.append(submission.timestamp)
        if failed:
            self.fail(
                f"Feedback was not fetched for the submissions at {', '.join(failed)}. "
                "Run the command again."
            )

    def _fetch_submissions(self, student: str) -> Sequence[SubmissionInfo]:
        overview = self.client.overview(self.course, self.assignment)
        if student in ("", "*", overview.user):
            for course in overview.courses:
                for assignment in course.assignments:
                    if assignment.name == self.assignment:
                        return assignment.submissions
            self.fail(f"Assignment not found: {self.assignment} in course {self.course}")
        return self.client.collection(self.course, self.assignment, student=student, every=True)

    def _report(self, submission: SubmissionInfo) -> None:
        """Log, for each notebook of a submission, if there is feedback on it."""
        files = submission.feedback.files if submission.feedback else {}
        for path in graded_notebooks(submission):
            notebook = path.removesuffix(".ipynb")
            place = f"{self.course}/{self.assignment}/{notebook}"
            if f"{notebook}.html" in files:
                self.log.info(
                    "Found feedback for '%s' submitted at %s", place, submission.timestamp
                )
            else:
                self.log.warning(
                    "Could not find feedback for '%s' submitted at %s", place, submission.timestamp
                )

    def _fetch(self, submission: SubmissionInfo, feedback: FeedbackInfo) -> None:
        """Download feedback if it differs from the local files, then replace these one by one.

        Files of earlier feedback that the new one lacks stay, as in nbgrader.
        """
        destination = self.dest_path / submission.timestamp
        changed = [
            path
            for path, digest in sorted(feedback.files.items())
            if not has_content(destination / path, digest)
        ]
        if not changed:
            self.log.info("Feedback already fetched: %s", destination)
            return
        with temporary_folder(self.dest_path) as folder:
            tree = folder / "tree"
            self.client.fetch_feedback(
                self.course, self.assignment, submission.student, submission.timestamp, tree
            )
            for path in changed:
                self._move(tree / path, destination / path)

    def _move(self, source: Path, destination: Path) -> None:
        destination.parent.mkdir(parents=True, exist_ok=True)
        source.replace(destination)
        self.log.info("Fetched feedback: %s", destination)
