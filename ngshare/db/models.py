"""The tables of the database. Queries are in ``actions/``.

A removed course, assignment or membership keeps its row, with ``removed_at`` and ``removed_by``
set, until it is purged, so that no single request destroys work. ``removed_by`` is the actor's
name as in the audit log; None when it is unknown.

The module is long because the tables refer to each other, and are read together.
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
    """A column type for a time in UTC with microseconds; values are aware datetimes.

    On PostgreSQL it is a timestamp with time zone. On SQLite it is text, naive UTC, as ngshare
    0.6 stored its times.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return _datetime_type(dialect)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(timezone.utc)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[Any], datetime | None]:
        """Return the conversion of values read; a single function, as lists have thousands."""
        return _from_sqlite if dialect.name == "sqlite" else _from_postgresql


def _datetime_type(dialect: Dialect) -> TypeEngine[Any]:
    return dialect.type_descriptor(DateTime(timezone=dialect.name != "sqlite"))


class UtcText(TypeDecorator[str]):
    """Reads a :class:`UtcDateTime` column as text, ``2020-01-01 00:00:00.000000 UTC``.

    That is the format of the API. SQLite stores almost the same text; converting it to a
    datetime and back took two fifths of the time of a list.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return _datetime_type(dialect)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], str | None]:
        return _format_sqlite if dialect.name == "sqlite" else _format


def _format_sqlite(value: str | None) -> str | None:
    if value is not None and len(value) == 26:  # with microseconds, as ngshare writes it
        return value + " UTC"
    return _format(_from_sqlite(value))


def _format(value: datetime | None) -> str | None:
    if value is None:
        return None
    return value.astimezone(timezone.utc).isoformat(" ", "microseconds")[:26] + " UTC"


def _from_sqlite(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value + "+00:00")


def _from_postgresql(value: datetime | None) -> datetime | None:
    return None if value is None else value.astimezone(timezone.utc)


# Makes PostgreSQL sort as SQLite and Python do. Indexes with this collation do not depend on the
# operating system's collations, which change with upgrades.
Text = String().with_variant(String(collation="C"), "postgresql")


class Base(DeclarativeBase):
    """The base class of the tables. Constraints have names, which migrations refer to."""

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


# SQLite generates ids only for a primary key whose type is literally INTEGER.
Id = BigInteger().with_variant(Integer(), "sqlite")


class User(Base):
    """A user of the Hub who sent a request or was named in one, by their name at the Hub.

    ``first_seen_at`` is the time of their first request; None when they sent none.
    """

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    first_seen_at: Mapped[datetime | None]


class Course(Base):
    """A course. Its name is unique among the courses that are not removed."""

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
    """A user's role in a course, with their personal data in the roster.

    Names and e-mail address are None when they were never given.
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
    """A directory tree that was released, submitted or given as feedback.

    ``size`` is the total size of its files in bytes, ``digest`` its digest
    (:func:`ngshare.protocol.manifests.tree_digest`). A tree never changes, so lists of many trees
    need no rows of files.
    """

    __tablename__ = "trees"
    # A covering index for the total size of a course.
    __table_args__ = (Index("ix_trees_course_id_size", "course_id", "size"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    course_id: Mapped[int] = mapped_column(ForeignKey("courses.id"))
    size: Mapped[int] = mapped_column(BigInteger)
    # SQLite adds a column to a table with rows only if it has a default, which no row keeps.
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), server_default=text("''"))
    file_count: Mapped[int] = mapped_column(Integer, server_default=text("0"))


class File(Base):
    """A file of a tree. ``sha256`` is the digest of the blob with its content.

    It is None when an adopted site of ngshare 0.6 had lost the content.
    """

    __tablename__ = "files"

    tree_id: Mapped[int] = mapped_column(ForeignKey("trees.id"), primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[bytes | None] = mapped_column(LargeBinary(32), index=True)
    md5: Mapped[bytes] = mapped_column(LargeBinary(16))
    size: Mapped[int] = mapped_column(BigInteger)


class Assignment(Base):
    """An assignment, with the tree of its latest release.

    Its name stays reserved after removal: releasing it again restores its submissions.
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
    """A student's submission for an assignment, and its feedback, if any.

    ``idempotency_key`` identifies the request, so that a client can repeat it; None if the client
    sent none.
    """

    __tablename__ = "submissions"
    __table_args__ = (
        UniqueConstraint("assignment_id", "student_id", "submitted_at"),
        Index(
            "uq_submissions_idempotency_key",
            "student_id",
            "assignment_id",
            "idempotency_key",
            unique=True,
            sqlite_where=text("idempotency_key IS NOT NULL"),
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        Index("ix_submissions_assignment_id_submitted_at", "assignment_id", "submitted_at"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignments.id"))
    student_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    submitted_at: Mapped[datetime]
    tree_id: Mapped[int] = mapped_column(ForeignKey("trees.id"), index=True)
    feedback_tree_id: Mapped[int | None] = mapped_column(ForeignKey("trees.id"), index=True)
    idempotency_key: Mapped[str | None]


class Upload(Base):
    """A file that a user uploads in parts, before a tree names it.

    ``md5`` is None until all parts have arrived and the blob ``sha256`` is stored. ``used_at`` is
    the time of the last part.
    """

    __tablename__ = "uploads"
    __table_args__ = (UniqueConstraint("user_id", "course_id", "sha256"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    course_id: Mapped[int] = mapped_column(ForeignKey("courses.id"), index=True)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    md5: Mapped[bytes | None] = mapped_column(LargeBinary(16))
    used_at: Mapped[datetime] = mapped_column(index=True)


class UploadPart(Base):
    """A part of an upload: a blob of its own, with the offset of its first byte in the file."""

    __tablename__ = "upload_parts"

    upload_id: Mapped[int] = mapped_column(ForeignKey("uploads.id"), primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)
    size: Mapped[int] = mapped_column(BigInteger)


class ReplacedTree(Base):
    """A release or feedback that a newer one replaced.

    With ``submission_id`` it is feedback on that submission; with ``assignment_id`` alone, a
    release. Both are None for a tree that was replaced before revision 3b9e5d70c146 and that the
    audit log does not identify. ``replaced_by`` is the actor's name as in the audit log.
    """

    __tablename__ = "replaced_trees"

    tree_id: Mapped[int] = mapped_column(ForeignKey("trees.id"), primary_key=True)
    assignment_id: Mapped[int | None] = mapped_column(ForeignKey("assignments.id"), index=True)
    submission_id: Mapped[int | None] = mapped_column(ForeignKey("submissions.id"), index=True)
    replaced_at: Mapped[datetime]
    replaced_by: Mapped[str | None]


class AuditEntry(Base):
    """An entry of the audit log: an event with its actor, time and subject.

    It has the names of course, assignment and student as text, so that it outlives their rows.
    ``detail`` is a JSON object whose fields depend on the event.
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


class SigningKey(Base):
    """The key that signs receipts, in its only row, whose id is 1.

    ``private_key`` is the private key of Ed25519 (32 bytes). It never leaves the database, except
    in backups.
    """

    __tablename__ = "signing_keys"

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    private_key: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[datetime]
