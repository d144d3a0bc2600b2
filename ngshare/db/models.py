"""The tables. No queries: those are in ``actions/``.

What is removed keeps its row and carries ``removed_at`` and ``removed_by`` until it is
purged, so that no single request destroys anybody's work. ``removed_by`` is a name as
in the audit log, where users of the machine have one too; None when nobody knows it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

INSTRUCTOR = "instructor"
STUDENT = "student"


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, to the microsecond.

    PostgreSQL keeps the zone. SQLite has no type for it, so the moment is kept
    as naive UTC there, which is also how ngshare 0.6 wrote its times.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return _kept_as(dialect)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(timezone.utc)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[Any], datetime | None]:
        """How a value that was read becomes a moment. In one step, for lists have thousands."""
        return _from_sqlite if dialect.name == "sqlite" else _from_postgresql


def _kept_as(dialect: Dialect) -> TypeEngine[Any]:
    return dialect.type_descriptor(DateTime(timezone=dialect.name != "sqlite"))


class UtcText(TypeDecorator[str]):
    """A moment that was written as :class:`UtcDateTime`, read as text for whoever only shows it.

    The text is ``2020-01-01 00:00:00.000000 UTC``, as clients compare it. SQLite keeps it so,
    but for the zone, and to make a moment of it and text of that took two fifths of a list's time.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return _kept_as(dialect)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], str | None]:
        return _shown_by_sqlite if dialect.name == "sqlite" else _shown


def _shown_by_sqlite(value: str | None) -> str | None:
    if value is not None and len(value) == 26:  # with its microseconds, as all that we wrote
        return value + " UTC"
    return _shown(_from_sqlite(value))


def _shown(value: datetime | None) -> str | None:
    if value is None:
        return None
    return value.astimezone(timezone.utc).isoformat(" ", "microseconds")[:26] + " UTC"


def _from_sqlite(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value + "+00:00")


def _from_postgresql(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(timezone.utc)


# PostgreSQL sorts as people of the place do, unless it is told to sort as SQLite and Python do.
# An index in that order also outlives every change of the operating system's collations.
Text = String().with_variant(String(collation="C"), "postgresql")


class Base(DeclarativeBase):
    """Names every constraint, so that a migration can name it too."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, str: Text}


# SQLite counts up by itself only a primary key whose type is literally INTEGER.
Id = BigInteger().with_variant(Integer(), "sqlite")


class User(Base):
    """Somebody who was seen or named, under the name that the Hub knows.

    ``first_seen_at`` is when they first sent a request; None for somebody who was only named.
    """

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    first_seen_at: Mapped[datetime | None]


class Course(Base):
    """A course. Names are unique among those that are not removed."""

    __tablename__ = "courses"
    __table_args__ = (
        Index(
            "uq_courses_live_name",
            "name",
            unique=True,
            sqlite_where=text("removed_at IS NULL"),
            postgresql_where=text("removed_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str]
    created_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]
    removed_by: Mapped[str | None]


class Membership(Base):
    """That a user teaches or takes a course, and how the roster names them.

    The three name fields are None when nobody ever gave them.
    """

    __tablename__ = "memberships"
    __table_args__ = (
        UniqueConstraint("course_id", "user_id"),
        CheckConstraint("role IN ('instructor', 'student')", name="role"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    course_id: Mapped[int] = mapped_column(ForeignKey("courses.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    role: Mapped[str]
    first_name: Mapped[str | None]
    last_name: Mapped[str | None]
    email: Mapped[str | None]
    removed_at: Mapped[datetime | None]
    removed_by: Mapped[str | None]


class Tree(Base):
    """A directory tree: what was released, submitted or given as feedback.

    ``size`` is the sum of its files in bytes.
    """

    __tablename__ = "trees"
    # With the size, so that adding up a course's bytes reads nothing but this index.
    __table_args__ = (Index("ix_trees_course_id_size", "course_id", "size"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    course_id: Mapped[int] = mapped_column(ForeignKey("courses.id"))
    size: Mapped[int] = mapped_column(BigInteger)


class File(Base):
    """A file of a tree. ``sha256`` names the blob that holds its bytes.

    It is None where a site of ngshare 0.6 had lost the bytes before it was adopted.
    """

    __tablename__ = "files"

    tree_id: Mapped[int] = mapped_column(ForeignKey("trees.id"), primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[bytes | None] = mapped_column(LargeBinary(32), index=True)
    md5: Mapped[bytes] = mapped_column(LargeBinary(16))
    size: Mapped[int] = mapped_column(BigInteger)


class Assignment(Base):
    """An assignment as it was last released.

    Its name stays its own after removal: releasing it again brings back what
    was submitted to it.
    """

    __tablename__ = "assignments"
    __table_args__ = (UniqueConstraint("course_id", "name"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    course_id: Mapped[int] = mapped_column(ForeignKey("courses.id"))
    name: Mapped[str]
    tree_id: Mapped[int] = mapped_column(ForeignKey("trees.id"))
    released_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]
    removed_by: Mapped[str | None]


class Submission(Base):
    """What one student handed in at one moment, and the feedback on it, if any."""

    __tablename__ = "submissions"
    __table_args__ = (
        UniqueConstraint("assignment_id", "student_id", "submitted_at"),
        Index("ix_submissions_assignment_id_submitted_at", "assignment_id", "submitted_at"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignments.id"))
    student_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    submitted_at: Mapped[datetime]
    tree_id: Mapped[int] = mapped_column(ForeignKey("trees.id"), index=True)
    feedback_tree_id: Mapped[int | None] = mapped_column(ForeignKey("trees.id"), index=True)


class ReplacedTree(Base):
    """That a newer tree took a tree's place, when, and by whom (as in the audit log).

    It was the release of the assignment, or the feedback on the submission when there is
    one. Both are None where the log of a site before revision 3b9e5d70c146 did not tell.
    """

    __tablename__ = "replaced_trees"

    tree_id: Mapped[int] = mapped_column(ForeignKey("trees.id"), primary_key=True)
    assignment_id: Mapped[int | None] = mapped_column(ForeignKey("assignments.id"), index=True)
    submission_id: Mapped[int | None] = mapped_column(ForeignKey("submissions.id"), index=True)
    replaced_at: Mapped[datetime]
    replaced_by: Mapped[str | None]


class AuditEntry(Base):
    """Who did what, and when. Names are kept as text, so that it outlives what it tells of.

    ``detail`` holds what the kind of event needs besides, as a JSON object.
    """

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_course_id_at", "course_id", "at"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str]
    event: Mapped[str]
    course_id: Mapped[int | None] = mapped_column(ForeignKey("courses.id", ondelete="SET NULL"))
    course: Mapped[str | None]
    assignment: Mapped[str | None]
    student: Mapped[str | None]
    detail: Mapped[dict[str, Any] | None] = mapped_column(JSON)
