"""``nbgrader release_feedback``: send the students the feedback on their submissions."""

from __future__ import annotations

import glob
from pathlib import Path

from nbgrader.exchange import abc

from ngshare.exchange.local_trees import scan_tree
from ngshare.exchange.plugin.base import describe_os_error
from ngshare.exchange.plugin.course_folders import (
    TIMESTAMP_FILE,
    excluded_students,
    matches_student,
    student_folders,
    submission_time,
)
from ngshare.exchange.plugin.instructor import InstructorExchange
from ngshare.exchange.service_error import ServiceError
from ngshare.protocol.times import format_time


class ExchangeReleaseFeedback(
    InstructorExchange,
    abc.ExchangeReleaseFeedback,  # type: ignore[misc]  # nbgrader is untyped
):
    """Release what ``nbgrader generate_feedback`` wrote. Feedback released earlier is replaced."""

    def init_src(self) -> None:
        """Find the folders with feedback of the selected students."""
        super().init_src()
        coursedir = self.coursedir
        excluded = excluded_students(coursedir)
        self.folders = [
            (student, folder)
            for student, folder in student_folders(
                coursedir, coursedir.feedback_directory, self.assignment
            )
            if matches_student(coursedir, student) and student not in excluded
        ]
        if not self.folders:
            self.fail(
                f"There is no feedback on '{self.assignment}' to release, run `nbgrader autograde` "
                "and `nbgrader generate_feedback` first."
            )

    def copy_files(self) -> None:
        """Send the feedback of one student after the other."""
        for student, folder in self.folders:
            try:
                self._release(student, folder)
            except ServiceError as error:  # noqa: PERF203  # one failure is not the others'
                if not self.is_about_one_student(error):
                    raise
                self.report(student, error.message)
            except OSError as error:
                self.report(student, describe_os_error(error))
        self.fail_if_reported(len(self.folders), "students' feedback was not released")

    def _release(self, student: str, folder: Path) -> None:
        """Send the feedback in ``folder``, for the submission whose time is in timestamp.txt."""
        folders = [glob.escape(path.name) for path in folder.iterdir() if path.is_dir()]
        tree = scan_tree(folder, ignore=[".*", *folders], include=["*.html"])
        if not tree.files:
            return
        time = submission_time(folder)
        if time is None:
            self.report(
                student,
                f"there is no time of a submission in {folder / TIMESTAMP_FILE}; collect, "
                "autograde and generate the feedback again",
            )
            return
        timestamp = format_time(time)
        for page in tree.files:
            self.log.info(
                "Releasing feedback for student '%s' on assignment '%s/%s/%s' (%s)",
                student,
                self.course,
                self.assignment,
                page.path.removesuffix(".html"),
                timestamp,
            )
        self.client.give_feedback(self.course, self.assignment, student, timestamp, tree)
