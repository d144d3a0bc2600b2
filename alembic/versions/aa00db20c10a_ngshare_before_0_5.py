"""The schema of ngshare before 0.5.

Only SQLite sites of it exist: on PostgreSQL it could never be made, so there it
is passed over, and the revision that brings today's schema starts from nothing.

Revision: aa00db20c10a
Follows: nothing
"""

import sqlalchemy as sa
from alembic.util import CommandError

from alembic import op

revision = "aa00db20c10a"
down_revision = None
branch_labels = None
depends_on = None


def roster_table(name):
    op.create_table(
        name,
        sa.Column("left_id", sa.TEXT, sa.ForeignKey("users.id"), primary_key=True),
        sa.Column("right_id", sa.TEXT, sa.ForeignKey("courses.id"), primary_key=True),
        sa.Column("first_name", sa.TEXT),
        sa.Column("last_name", sa.TEXT),
        sa.Column("email", sa.TEXT),
    )


def files_table(name, owner):
    op.create_table(
        name,
        sa.Column("left_id", sa.TEXT, sa.ForeignKey(f"{owner}._id"), primary_key=True),
        sa.Column("right_id", sa.INTEGER, sa.ForeignKey("files._id"), primary_key=True),
    )


def upgrade():
    if op.get_bind().dialect.name != "sqlite":
        return
    op.create_table("users", sa.Column("id", sa.TEXT, primary_key=True))
    op.create_table(
        "courses",
        sa.Column("_id", sa.INTEGER, primary_key=True),
        sa.Column("id", sa.TEXT, unique=True),
    )
    op.create_table(
        "files",
        sa.Column("_id", sa.INTEGER, primary_key=True),
        sa.Column("filename", sa.TEXT),
        sa.Column("checksum", sa.TEXT),
        sa.Column("actual_name", sa.TEXT),
    )
    op.create_table(
        "assignments",
        sa.Column("_id", sa.INTEGER, primary_key=True),
        sa.Column("id", sa.TEXT),
        sa.Column("course_id", sa.INTEGER, sa.ForeignKey("courses._id")),
        sa.Column("due", sa.TIMESTAMP),
    )
    op.create_table(
        "submissions",
        sa.Column("_id", sa.INTEGER, primary_key=True),
        sa.Column("assignment_id", sa.INTEGER, sa.ForeignKey("assignments._id")),
        sa.Column("timestamp", sa.TIMESTAMP),
        sa.Column("student_id", sa.TEXT, sa.ForeignKey("users.id")),
    )
    roster_table("instructor_assoc_table")
    roster_table("student_assoc_table")
    files_table("assignment_files_assoc_table", "assignments")
    files_table("submission_files_assoc_table", "submissions")
    files_table("feedback_files_assoc_table", "submissions")


def downgrade():
    raise CommandError("nothing comes before the first schema; name an empty database instead")
