"""nbgrader's authentication plugin: students' courses come from the service's roster, and go there.

nbgrader calls it for ``nbgrader db student add``, ``import`` and ``remove``. Formgrader's page
Manage Students does not call it: :mod:`ngshare.exchange.server_extension.roster` serves that page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from nbgrader.auth import BaseAuthPlugin
from nbgrader.exchange import ExchangeError

from ngshare.exchange.client import ExchangeClient
from ngshare.exchange.plugin.base import Exchange, runs_in_command
from ngshare.exchange.plugin.course_choice import choose_course
from ngshare.exchange.service_error import ServiceError


class NgshareAuthPlugin(BaseAuthPlugin):  # type: ignore[misc]  # nbgrader is untyped
    """The roster of the service, for nbgrader.

    nbgrader changes its gradebook after the roster, so that nothing is changed when the service
    refuses or cannot be reached. A failure raises nbgrader's ExchangeError, except in a command,
    which ends with one sentence and exit code 1.
    """

    def get_student_courses(self, student_id: str) -> list[str]:
        """Return the sorted names of the courses of a student, those that they teach included.

        ``*`` stands for the caller. Of another student, only courses that the caller teaches are
        known.
        """
        with self._client() as client:
            overview = client.overview()
            if student_id in ("*", "", overview.user):
                return sorted(course.name for course in overview.courses)
            return sorted(
                course.name
                for course in overview.courses
                if course.role == "instructor"
                and self._is_in_roster(client, course.name, student_id)
            )

    def add_student_to_course(self, student_id: str, course_id: str) -> None:
        """Add a student to the roster. A student who is in it keeps their names."""
        with self._client() as client:
            course = choose_course(client, course_id, role="instructor")
            if not self._is_in_roster(client, course, student_id):
                client.put_student(course, student_id, "", "", "")
        self.log.info("Student '%s' is in the course '%s'", student_id, course)

    def remove_student_from_course(self, student_id: str, course_id: str) -> None:
        """Remove a student from the roster. Their submissions stay at the service."""
        with self._client() as client:
            course = choose_course(client, course_id, role="instructor")
            try:
                client.remove_student(course, student_id)
            except ServiceError as error:
                if error.status != 404:
                    raise
                self.log.info("Student '%s' was not in the course '%s'", student_id, course)
                return
        self.log.info("Student '%s' is no longer in the course '%s'", student_id, course)

    def _is_in_roster(self, client: ExchangeClient, course: str, student: str) -> bool:
        return any(each["username"] == student for each in client.students(course))

    @contextmanager
    def _client(self) -> Iterator[ExchangeClient]:
        """Yield the client of the service, and turn its errors into nbgrader's."""
        try:
            yield Exchange(parent=self).client
        except ServiceError as error:
            self.log.debug("The request failed:", exc_info=True)
            if runs_in_command(self):
                self.log.error(error.message)
                sys.exit(1)  # nbgrader's commands for students show a traceback of any error
            raise ExchangeError(error.message) from error
