"""What the service tells about courses, assignments and submissions: the request ``overview``.

Times are texts in the format of :func:`ngshare.protocol.times.format_time`. Digests are those of
trees (:func:`ngshare.protocol.manifests.tree_digest`), in hexadecimal digits. ``notebooks`` has the
paths of a tree's files that end in ``.ipynb``. Sizes are in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FeedbackInfo:
    """The feedback on a submission: the digest of its tree, and the SHA-256 of each path."""

    digest: str
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class SubmissionInfo:
    """A submission. ``feedback`` is None when there is none.

    removed: the student has left the course. late: the submission is newer than the time that was
    asked for, and the student has none before it.
    """

    student: str
    timestamp: str
    digest: str
    files: int
    bytes: int
    notebooks: list[str]
    feedback: FeedbackInfo | None = None
    removed: bool = False
    late: bool = False


@dataclass(frozen=True, slots=True)
class AssignmentInfo:
    """A released assignment, with the caller's own submissions, oldest first.

    students_submitted: how many students have submitted; None unless the caller may grade and
        asked for counts.
    """

    name: str
    released: str
    digest: str
    files: int
    bytes: int
    notebooks: list[str]
    submissions: list[SubmissionInfo] = field(default_factory=list)
    students_submitted: int | None = None


@dataclass(frozen=True, slots=True)
class CourseInfo:
    """A course. ``role`` is the caller's: instructor, student, or None for an admin."""

    name: str
    role: str | None
    assignments: list[AssignmentInfo] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Overview:
    """The answer about one caller: their name as the service knows it, and their courses.

    version: the service's version; None for a service older than this request.
    """

    user: str
    admin: bool
    version: str | None
    time: str | None
    courses: list[CourseInfo]
