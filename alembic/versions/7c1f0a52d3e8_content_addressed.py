"""The schema of ngshare 1.0: real keys, content by hash, removal that can be undone.

A site of ngshare 0.6 is adopted: its records move over, its files into the storage
(``ngshare/db/legacy06``). The tables of one that never held anything are dropped.

Revision: 7c1f0a52d3e8
Follows: 1921a169739b
"""

from pathlib import Path

import sqlalchemy as sa
from alembic.util import CommandError

from alembic import op
from ngshare.db import legacy06
from ngshare.db.migrate import refuse_downgrade

revision = "7c1f0a52d3e8"
down_revision = "1921a169739b"
branch_labels = None
depends_on = None

LEGACY = (
    "feedback_files_assoc_table",
    "submission_files_assoc_table",
    "assignment_files_assoc_table",
    "student_assoc_table",
    "instructor_assoc_table",
    "submissions",
    "assignments",
    "files",
    "courses",
    "users",
)
"""The tables of 0.6, those that point to others first."""

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Moment = sa.DateTime(timezone=True)
# Sorted by code points, as SQLite and Python do, and by indexes that no new version of the
# operating system's collations can break.
Text = sa.String().with_variant(sa.String(collation="C"), "postgresql")
LIVE = sa.text("removed_at IS NULL")


def upgrade():
    if op.get_bind().dialect.name != "sqlite":
        create_tables()
        return
    legacy = holds_anything()
    if legacy:
        require_storage()
    for table in LEGACY:
        op.rename_table(table, f"legacy_{table}")
    create_tables()
    if legacy:
        adopt()
    for table in LEGACY:
        op.drop_table(f"legacy_{table}")


def holds_anything():
    connection = op.get_bind()
    return any(connection.scalar(sa.text(f"SELECT 1 FROM {table} LIMIT 1")) for table in LEGACY)


def require_storage():
    if "storage" not in op.get_context().config.attributes:
        raise CommandError(
            "it holds the records of an ngshare 0.6 site, which are adopted together with its "
            "files. Start ngshare once with its --database and --storage, or tell Alembic where "
            "they are: alembic -x database=URL -x storage=DIR upgrade head"
        )


def adopt():
    connection = op.get_bind()
    attributes = op.get_context().config.attributes
    try:
        attributes["adopted"] = legacy06.adopt(
            connection.connection.dbapi_connection,
            Path(connection.engine.url.database),
            attributes["storage"],
            attributes["progress"],
            files_may_be_lost=attributes.get("files_may_be_lost", False),
        )
    except legacy06.AdoptionError as error:
        raise CommandError(str(error)) from error


def create_tables():
    op.create_table(
        "users",
        sa.Column("id", Id, primary_key=True),
        sa.Column("name", Text, nullable=False, unique=True),
    )
    op.create_table(
        "courses",
        sa.Column("id", Id, primary_key=True),
        sa.Column("name", Text, nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("removed_at", Moment),
    )
    op.create_index(
        "uq_courses_live_name",
        "courses",
        ["name"],
        unique=True,
        sqlite_where=LIVE,
        postgresql_where=LIVE,
    )
    op.create_table(
        "memberships",
        sa.Column("id", Id, primary_key=True),
        sa.Column("course_id", Id, sa.ForeignKey("courses.id"), nullable=False),
        sa.Column("user_id", Id, sa.ForeignKey("users.id"), nullable=False, index=True),
        sa.Column("role", Text, nullable=False),
        sa.Column("first_name", Text),
        sa.Column("last_name", Text),
        sa.Column("email", Text),
        sa.Column("removed_at", Moment),
        sa.UniqueConstraint("course_id", "user_id"),
        sa.CheckConstraint("role IN ('instructor', 'student')", name="role"),
    )
    op.create_table(
        "trees",
        sa.Column("id", Id, primary_key=True),
        sa.Column("course_id", Id, sa.ForeignKey("courses.id"), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("replaced_at", Moment),
    )
    op.create_index("ix_trees_course_id_size", "trees", ["course_id", "size"])
    op.create_table(
        "files",
        sa.Column("tree_id", Id, sa.ForeignKey("trees.id"), primary_key=True),
        sa.Column("path", Text, primary_key=True),
        sa.Column("sha256", sa.LargeBinary(32), index=True),
        sa.Column("md5", sa.LargeBinary(16), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "assignments",
        sa.Column("id", Id, primary_key=True),
        sa.Column("course_id", Id, sa.ForeignKey("courses.id"), nullable=False),
        sa.Column("name", Text, nullable=False),
        sa.Column("tree_id", Id, sa.ForeignKey("trees.id"), nullable=False),
        sa.Column("released_at", Moment, nullable=False),
        sa.Column("removed_at", Moment),
        sa.UniqueConstraint("course_id", "name"),
    )
    op.create_table(
        "submissions",
        sa.Column("id", Id, primary_key=True),
        sa.Column("assignment_id", Id, sa.ForeignKey("assignments.id"), nullable=False),
        sa.Column("student_id", Id, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("submitted_at", Moment, nullable=False),
        sa.Column("tree_id", Id, sa.ForeignKey("trees.id"), nullable=False, index=True),
        sa.Column("feedback_tree_id", Id, sa.ForeignKey("trees.id"), index=True),
        sa.UniqueConstraint("assignment_id", "student_id", "submitted_at"),
    )
    op.create_index(
        "ix_submissions_assignment_id_submitted_at",
        "submissions",
        ["assignment_id", "submitted_at"],
    )
    op.create_table(
        "audit_log",
        sa.Column("id", Id, primary_key=True),
        sa.Column("at", Moment, nullable=False, index=True),
        sa.Column("actor", Text, nullable=False),
        sa.Column("event", Text, nullable=False),
        sa.Column("course_id", Id, sa.ForeignKey("courses.id", ondelete="SET NULL")),
        sa.Column("course", Text),
        sa.Column("assignment", Text),
        sa.Column("student", Text),
        sa.Column("detail", sa.JSON),
    )
    op.create_index("ix_audit_log_course_id_at", "audit_log", ["course_id", "at"])


def downgrade():
    refuse_downgrade(op.get_bind(), down_revision, "ngshare 0.6 cannot hold what ngshare 1.0 holds")
