"""The base class of the operations of instructors: the course they teach, and partial failures."""

from __future__ import annotations

from nbgrader.apps.api import NbGraderAPI

from ngshare.exchange.plugin.base import Exchange
from ngshare.exchange.plugin.course_choice import choose_course, chosen_course, explain_error
from ngshare.exchange.service_error import ServiceError


class InstructorExchange(Exchange):
    """An operation on an assignment of a course that the caller teaches.

    An operation on many students reports those for whom it fails, completes the others, and fails
    at the end.
    """

    def init_src(self) -> None:
        """Check the name of the assignment."""
        self.course = self.coursedir.course_id
        self.assignment = self.require_folder_name(self.coursedir.assignment_id)
        self.failed: list[str] = []

    def init_dest(self) -> None:
        """Choose the course: the configured one, else the only one.

        With several, formgrader works on the course that the user selected in it.
        """
        chosen = chosen_course() if isinstance(self.parent, NbGraderAPI) else None
        course = choose_course(
            self.client, self.coursedir.course_id, role="instructor", chosen=chosen
        )
        self.course = self.require_folder_name(course)

    def report(self, student: str, reason: str) -> None:
        """Log why the operation fails for one student."""
        self.failed.append(student)
        self.log.error("%s %s: %s", student, self.assignment, reason)

    def fail_if_reported(self, total: int, outcome: str) -> None:
        """Fail if there were reports: so many of ``total`` were not ``outcome``."""
        if self.failed:
            self.fail(f"{len(self.failed)} of {total} {outcome}, for the reasons above.")

    def is_about_one_student(self, error: ServiceError) -> bool:
        """Return True unless the requests for the other students would fail as well."""
        if error.status in (401, 403, 429, 503):
            return False
        if error.status is not None and error.status < 500:
            return True
        try:
            self.client.health()
        except ServiceError:
            return False
        return True

    def explain(self, error: ServiceError) -> str:
        """Return the sentence about a failed request; an unknown course is named."""
        return explain_error(self.client, self.course, "instructor", error)
