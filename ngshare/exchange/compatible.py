"""The operations of the exchange by the requests of ngshare 0.6, for a service older than 1.0.

Whole trees are in memory, because each of these requests has a whole tree.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ngshare.exchange.connection import Connection
from ngshare.exchange.downloads import Manifest, TreeWriter
from ngshare.exchange.local_trees import LocalTree
from ngshare.exchange.replies import check_time
from ngshare.exchange.service_error import ServiceError
from ngshare.protocol.manifests import ManifestFile, tree_digest
from ngshare.protocol.overview import (
    AssignmentInfo,
    CourseInfo,
    FeedbackInfo,
    Overview,
    SubmissionInfo,
)

Tree = dict[str, bytes]
"""The contents of a tree's files, by path."""


class CompatibleClient:
    """The operations of :class:`ngshare.exchange.client.ExchangeClient`, in more requests."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def overview(self, course: str | None, assignment: str | None) -> Overview:
        """Return the caller's courses, or one, with their assignments and own submissions."""
        user = self._connection.address.user or ""
        names = [course] if course is not None else self._get("courses")["courses"]
        courses = [self._course(name, assignment, user) for name in names]
        return Overview(user, False, None, None, courses)

    def collection(
        self, course: str, assignment: str, before: str | None, student: str | None, every: bool
    ) -> list[SubmissionInfo]:
        """Return the submissions to an assignment, with empty digests: they are unknown."""
        path = ["submissions", course, assignment, *([student] if student is not None else [])]
        listed = self._get(*path)["submissions"]
        found = [
            SubmissionInfo(each["student_id"], check_time(each["timestamp"]), "", 0, 0, [])
            for each in listed
        ]
        return found if every else newest(found, before)

    def manifest(self, *path: str, timestamp: str | None = None) -> Manifest:
        """Return the manifest of a tree, which has to be downloaded for it."""
        reply = self._tree(*path, timestamp=timestamp)
        files = [
            ManifestFile(name, hashlib.sha256(content).digest(), len(content))
            for name, content in sorted(reply[0].items())
        ]
        return Manifest(tree_digest(files).hex(), files, reply[1])

    def fetch(self, destination: Path, *path: str, timestamp: str | None = None) -> Manifest:
        """Download a tree to ``destination``, which must not exist."""
        contents, _ = self._tree(*path, timestamp=timestamp)
        with TreeWriter(destination) as writer:
            for name, content in contents.items():
                writer.write(name, [content])
            return writer.finish()

    def fetch_submissions(
        self,
        course: str,
        assignment: str,
        submissions: Sequence[SubmissionInfo],
        place: Callable[[SubmissionInfo, Path], None],
        folder: Path,
    ) -> None:
        """Download submissions one by one; ``folder`` is where each is before it is placed."""
        for number, each in enumerate(submissions):
            target = folder / str(number)
            path = ("submission", course, assignment, each.student)
            self.fetch(target, *path, timestamp=each.timestamp)
            place(each, target)

    def send(self, tree: LocalTree, *path: str, timestamp: str | None = None) -> dict[str, Any]:
        """Send a whole tree, and return the reply."""
        files = [
            {"path": file.path, "content": base64.b64encode(b"".join(file.read())).decode()}
            for file in tree.files
        ]
        form = {"files": json.dumps(files)}
        if timestamp is not None:
            form["timestamp"] = timestamp
        return self._connection.request_json("POST", *path, form=form)

    def _get(self, *path: str, **params: str) -> dict[str, Any]:
        return self._connection.request_json("GET", *path, params=params)

    def _course(self, name: str, only: str | None, user: str) -> CourseInfo:
        role = "instructor" if self._is_instructor(name) else "student"
        assignments = self._get("assignments", name)["assignments"]
        if only is not None and only not in assignments:
            raise ServiceError("Assignment not found", 404)
        return CourseInfo(
            name,
            role,
            [self._assignment(name, each, user) for each in assignments if only in (None, each)],
        )

    def _is_instructor(self, course: str) -> bool:
        try:
            self._get("students", course)
        except ServiceError as error:
            if error.status == 403:
                return False
            raise
        return True

    def _assignment(self, course: str, name: str, user: str) -> AssignmentInfo:
        files = self._get("assignment", course, name, list_only="true")["files"]
        times = self._own_times(course, name, user)
        submissions = [self._submission(course, name, user, time) for time in times]
        notebooks = _notebooks([file["path"] for file in files])
        return AssignmentInfo(name, "", "", len(files), 0, notebooks, submissions)

    def _own_times(self, course: str, name: str, user: str) -> list[str]:
        """Return the times of the user's submissions; none for an admin who is in no course."""
        try:
            listed = self._get("submissions", course, name, user)["submissions"]
        except ServiceError as error:
            if error.status == 404 and error.message == "Student not found":
                return []
            raise
        return [check_time(each["timestamp"]) for each in listed]

    def _submission(self, course: str, name: str, user: str, timestamp: str) -> SubmissionInfo:
        contents, _ = self._tree("feedback", course, name, user, timestamp=timestamp)
        digests = {path: hashlib.sha256(each).hexdigest() for path, each in contents.items()}
        files = [
            ManifestFile(path, bytes.fromhex(digest), len(contents[path]))
            for path, digest in digests.items()
        ]
        feedback = FeedbackInfo(tree_digest(files).hex(), digests) if digests else None
        return SubmissionInfo(user, timestamp, "", 0, 0, [], feedback)

    def _tree(self, *path: str, timestamp: str | None = None) -> tuple[Tree, str | None]:
        """Return the contents of a tree, and the time of the submission. Raises ServiceError."""
        params = {} if timestamp is None else {"timestamp": timestamp}
        reply = self._get(*path, **params)
        try:
            contents = {file["path"]: base64.b64decode(file["content"]) for file in reply["files"]}
            damaged = [
                file["path"]
                for file in reply["files"]
                if hashlib.md5(contents[file["path"]], usedforsecurity=False).hexdigest()
                != file["checksum"]
            ]
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise ServiceError("The exchange sent a reply that makes no sense") from error
        if damaged:
            raise ServiceError(f"The file {damaged[0]} arrived damaged; try again")
        return contents, reply.get("timestamp")


def newest(submissions: Sequence[SubmissionInfo], before: str | None) -> list[SubmissionInfo]:
    """Return the newest submission of each student.

    submissions: those of one assignment, the oldest of each student first.
    before: the time after which submissions do not count; a student who has only such ones keeps
        the newest, marked as late.
    """
    chosen: dict[str, SubmissionInfo] = {}
    for each in submissions:
        late = before is not None and each.timestamp > before
        previous = chosen.get(each.student)
        if previous is None or previous.late or not late:
            chosen[each.student] = replace(each, late=late)
    return list(chosen.values())


def _notebooks(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if path.endswith(".ipynb")]
