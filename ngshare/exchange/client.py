"""The operations of the exchange, as the plugin and the commands call them.

Each uses the newest requests, and the compatible ones if the service does not know those.
Every method raises ServiceError.

The module is long because it is the whole of one interface, most of it one request a method.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ngshare.exchange.archives import (
    ArchivedTree,
    Interrupted,
    archive_headers,
    fetch_tree,
    receive_archive,
)
from ngshare.exchange.compatible import CompatibleClient
from ngshare.exchange.connection import Connection
from ngshare.exchange.downloads import Manifest, TreeWriter
from ngshare.exchange.local_trees import LocalTree
from ngshare.exchange.replies import check_time, parse_collection, parse_overview
from ngshare.exchange.service_error import ServiceError
from ngshare.exchange.temporary_folders import temporary_folder
from ngshare.exchange.uploads import send_tree
from ngshare.protocol.manifests import parse_manifest
from ngshare.protocol.overview import Overview, SubmissionInfo

T = TypeVar("T")

Receipt = dict[str, Any]
"""A receipt as the service sends it; :mod:`ngshare.protocol.receipts` has its fields."""

Person = Mapping[str, str | None]
"""A member of a course: ``username``, ``first_name``, ``last_name``, ``email``."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """An acknowledged submission. ``receipt`` is None if the service signs none."""

    timestamp: str
    receipt: Receipt | None


class ExchangeClient:
    """The operations of the exchange at one service."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.address = connection.address
        self._compatible = CompatibleClient(connection)
        self._is_older = False

    def overview(
        self, course: str | None = None, assignment: str | None = None, *, counts: bool = False
    ) -> Overview:
        """Return the caller's courses, or one, with their assignments and own submissions.

        counts: also count the students who have submitted, for callers who may grade.
        """
        params = {
            "course": course,
            "assignment": assignment,
            "counts": "true" if counts else None,
        }
        given = {name: value for name, value in params.items() if value is not None}
        return self._call(
            lambda: parse_overview(self.connection.request_json("GET", "overview", params=given)),
            lambda: self._compatible.overview(course, assignment),
        )

    def collection(
        self,
        course: str,
        assignment: str,
        *,
        before: str | None = None,
        student: str | None = None,
        every: bool = False,
    ) -> list[SubmissionInfo]:
        """Return the newest submission of each student; with ``every``, all of them.

        before: the time after which submissions do not count; a student who has only such ones
            keeps the newest, marked as late.
        student: only submissions of this student.
        """
        params = {"before": before, "student": student, "all": "true" if every else None}
        given = {name: value for name, value in params.items() if value is not None}
        path = ("collection", course, assignment)
        return self._call(
            lambda: parse_collection(self.connection.request_json("GET", *path, params=given)),
            lambda: self._compatible.collection(course, assignment, before, student, every),
        )

    def release_manifest(self, course: str, assignment: str) -> Manifest:
        """Return the files of a released assignment."""
        kind = ("assignment", course, assignment)
        return self._call(lambda: self._manifest(*kind), lambda: self._compatible.manifest(*kind))

    def fetch_release(self, course: str, assignment: str, destination: Path) -> Manifest:
        """Download a released assignment; ``destination`` must not exist."""
        return self._fetch(destination, ("assignment", course, assignment))

    def fetch_submission(
        self, course: str, assignment: str, student: str, timestamp: str, destination: Path
    ) -> Manifest:
        """Download a submission; ``destination`` must not exist."""
        return self._fetch(destination, ("submission", course, assignment, student), timestamp)

    def fetch_submissions(
        self,
        course: str,
        assignment: str,
        submissions: Sequence[SubmissionInfo],
        place: Callable[[SubmissionInfo, Path], None],
        *,
        parent: Path | None = None,
    ) -> None:
        """Download submissions, and pass each complete folder to ``place``, which moves it away.

        parent: the folder in which they are until then; by default that of the system for
            temporary files, which may be on another disk.
        """
        remaining = {(each.student, each.timestamp): each for each in submissions}

        def place_one(each: SubmissionInfo, folder: Path) -> None:
            remaining.pop((each.student, each.timestamp), None)
            place(each, folder)
            shutil.rmtree(folder, ignore_errors=True)

        def fetch_archive() -> None:
            while remaining:
                before = len(remaining)
                try:
                    self._fetch_archive(course, assignment, remaining, place_one, folder)
                except Interrupted:
                    if len(remaining) == before:
                        break
                else:
                    break
            # Of a single submission, what is missing is requested file by file.
            for each in list(remaining.values()):
                target = folder / "submission"
                self.fetch_submission(course, assignment, each.student, each.timestamp, target)
                place_one(each, target)

        with temporary_folder(parent or Path(tempfile.gettempdir())) as folder:
            self._call(
                fetch_archive,
                lambda: self._compatible.fetch_submissions(
                    course, assignment, list(remaining.values()), place_one, folder
                ),
            )

    def fetch_feedback(
        self, course: str, assignment: str, student: str, timestamp: str, destination: Path
    ) -> Manifest:
        """Download the feedback on a submission; ``destination`` must not exist."""
        return self._fetch(destination, ("feedback", course, assignment, student), timestamp)

    def submit(
        self,
        course: str,
        assignment: str,
        tree: LocalTree,
        *,
        key: str,
        known: Collection[bytes] = (),
    ) -> Submitted:
        """Submit a tree.

        key: identifies this attempt; repeated with the same key it is the same submission.
        known: digests (SHA-256) of files that the service probably has, which are not sent first.
        """
        path = ("submission", course, assignment)
        reply = self._call(
            lambda: send_tree(
                self.connection,
                ("tree", *path),
                tree,
                course=course,
                assignment=assignment,
                key=key,
                known=known,
            ),
            lambda: self._compatible.send(tree, *path),
        )
        return Submitted(check_time(reply["timestamp"]), reply.get("receipt"))

    def release(
        self, course: str, assignment: str, tree: LocalTree, *, replace: bool = False
    ) -> None:
        """Release an assignment. With ``replace`` it may be released already."""
        path = ("assignment", course, assignment)

        def send_compatible() -> None:
            if replace:
                self._remove_if_released(course, assignment)
            self._compatible.send(tree, *path)

        self._call(
            lambda: send_tree(
                self.connection,
                ("tree", *path),
                tree,
                course=course,
                assignment=assignment,
                params={"replace": "true"} if replace else None,
            ),
            send_compatible,
        )

    def give_feedback(
        self, course: str, assignment: str, student: str, timestamp: str, tree: LocalTree
    ) -> None:
        """Give feedback on a submission, or replace it."""
        path = ("feedback", course, assignment, student)
        self._call(
            lambda: send_tree(
                self.connection,
                ("tree", *path),
                tree,
                course=course,
                assignment=assignment,
                params={"timestamp": timestamp},
            ),
            lambda: self._compatible.send(tree, *path, timestamp=timestamp),
        )

    def remove_assignment(self, course: str, assignment: str) -> None:
        """Remove a released assignment; its submissions stay at the service."""
        self.connection.request_json("DELETE", "assignment", course, assignment)

    def courses(self) -> list[str]:
        """Return the names of the caller's courses; an admin's are all courses."""
        return list(self.connection.request_json("GET", "courses")["courses"])

    def create_course(self, course: str, instructors: Iterable[str] = ()) -> None:
        """Create a course; for admins."""
        form = {"instructors": json.dumps(list(instructors))}
        self.connection.request_json("POST", "course", course, form=form)

    def remove_course(self, course: str) -> None:
        """Remove a course; for admins, who can restore it for a time."""
        self.connection.request_json("DELETE", "course", course)

    def instructors(self, course: str) -> list[dict[str, str | None]]:
        """Return the instructors of a course, as :data:`Person`."""
        return list(self.connection.request_json("GET", "instructors", course)["instructors"])

    def students(self, course: str) -> list[dict[str, str | None]]:
        """Return the students of a course, as :data:`Person`."""
        return list(self.connection.request_json("GET", "students", course)["students"])

    def put_instructor(
        self, course: str, user: str, first_name: str, last_name: str, email: str
    ) -> None:
        """Add an instructor, or change their names."""
        form = {"first_name": first_name, "last_name": last_name, "email": email}
        self.connection.request_json("POST", "instructor", course, user, form=form)

    def put_student(
        self, course: str, user: str, first_name: str, last_name: str, email: str
    ) -> None:
        """Add a student, or change their names."""
        form = {"first_name": first_name, "last_name": last_name, "email": email}
        self.connection.request_json("POST", "student", course, user, form=form)

    def put_students(self, course: str, students: Sequence[Person]) -> list[tuple[str, str]]:
        """Add or change many students. Return those who were refused, each with the message."""
        form = {"students": json.dumps([dict(student) for student in students])}
        reply = self.connection.request_json("POST", "students", course, form=form)
        return [
            (each["username"], each.get("message", ""))
            for each in reply["status"]
            if not each["success"]
        ]

    def remove_instructor(self, course: str, user: str) -> None:
        """Remove an instructor from a course; for admins."""
        self.connection.request_json("DELETE", "instructor", course, user)

    def remove_student(self, course: str, user: str) -> None:
        """Remove a student from a course; the submissions stay."""
        self.connection.request_json("DELETE", "student", course, user)

    def receipt(self, course: str, assignment: str, student: str, timestamp: str) -> Receipt:
        """Return the service's receipt for a submission."""
        path = ("receipt", course, assignment, student)
        reply = self.connection.request_json("GET", *path, params={"timestamp": timestamp})
        return dict(reply["receipt"])

    def verify_receipt(self, receipt: Receipt) -> tuple[bool, str]:
        """Return whether the service holds what a receipt says, and a sentence about it."""
        body = json.dumps({"receipt": receipt}).encode()
        reply = self.connection.request_json(
            "POST",
            *("receipts", "verify"),
            body=body,
            headers={"Content-Type": "application/json"},
            repeatable=True,
        )
        return bool(reply["valid"]), str(reply["message"])

    def health(self) -> None:
        """Ask the service whether it runs."""
        self.connection.request_json("GET", "healthz")

    def _call(self, current: Callable[[], T], compatible: Callable[[], T]) -> T:
        """Run ``current``, or ``compatible`` when the service does not know the request."""
        if self._is_older:
            return compatible()
        try:
            return current()
        except ServiceError as error:
            if not error.unknown_path:
                raise
            result = compatible()
            self._is_older = True
            return result

    def _manifest(self, *kind: str) -> Manifest:
        reply = self.connection.request_json("GET", "manifest", *kind)
        return Manifest(reply["digest"], parse_manifest(reply["files"]), reply.get("timestamp"))

    def _fetch(
        self, destination: Path, kind: tuple[str, ...], timestamp: str | None = None
    ) -> Manifest:
        if os.path.lexists(destination):
            raise ServiceError(f"{destination} is there already")
        params = {} if timestamp is None else {"timestamp": timestamp}
        return self._call(
            lambda: fetch_tree(self.connection, destination, kind, params),
            lambda: self._compatible.fetch(destination, *kind, timestamp=timestamp),
        )

    def _fetch_archive(
        self,
        course: str,
        assignment: str,
        wanted: Mapping[tuple[str, str], SubmissionInfo],
        place: Callable[[SubmissionInfo, Path], None],
        folder: Path,
    ) -> None:
        """Download submissions in one stream, each to ``folder`` before it is placed."""
        chosen = [
            {"student_id": each.student, "timestamp": each.timestamp} for each in wanted.values()
        ]
        response = self.connection.request(
            "POST",
            *("archive", "submissions", course, assignment),
            body=json.dumps({"submissions": chosen}).encode(),
            headers={"Content-Type": "application/json", **archive_headers(self.connection)},
            repeatable=True,
        )
        target = folder / "submission"

        def make_writer(_: ArchivedTree) -> TreeWriter:
            return TreeWriter(target)

        for tree, writer in receive_archive(response, make_writer):
            submission = wanted.get((tree.student or "", tree.timestamp or ""))
            if submission is not None and not tree.lost:
                writer.finish()
                place(submission, target)

    def _remove_if_released(self, course: str, assignment: str) -> None:
        try:
            self.remove_assignment(course, assignment)
        except ServiceError as error:
            if error.status != 404 or "Assignment" not in error.message:
                raise
