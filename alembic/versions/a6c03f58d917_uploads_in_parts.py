"""Uploads in parts, and a key with which a client can repeat a submission.

Revision: a6c03f58d917
Follows: 84e1b6f3a2d5
"""

import sqlalchemy as sa

from alembic import op

revision = "a6c03f58d917"
down_revision = "84e1b6f3a2d5"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Moment = sa.DateTime(timezone=True)
Text = sa.String().with_variant(sa.String(collation="C"), "postgresql")

WITH_KEY = sa.text("idempotency_key IS NOT NULL")


def upgrade():
    op.add_column("submissions", sa.Column("idempotency_key", Text))
    op.create_index(
        "uq_submissions_idempotency_key",
        "submissions",
        ["student_id", "assignment_id", "idempotency_key"],
        unique=True,
        sqlite_where=WITH_KEY,
        postgresql_where=WITH_KEY,
    )
    op.create_table(
        "uploads",
        sa.Column("id", Id, nullable=False),
        sa.Column("user_id", Id, nullable=False),
        sa.Column("course_id", Id, nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("md5", sa.LargeBinary(16)),
        sa.Column("used_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_uploads_user_id_users"),
        sa.ForeignKeyConstraint(["course_id"], ["courses.id"], name="fk_uploads_course_id_courses"),
        sa.UniqueConstraint(
            "user_id", "course_id", "sha256", name="uq_uploads_user_id_course_id_sha256"
        ),
    )
    for column in ("course_id", "sha256", "used_at"):
        op.create_index(f"ix_uploads_{column}", "uploads", [column])
    op.create_table(
        "upload_parts",
        sa.Column("upload_id", Id, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("upload_id", "start", name="pk_upload_parts"),
        sa.ForeignKeyConstraint(
            ["upload_id"], ["uploads.id"], name="fk_upload_parts_upload_id_uploads"
        ),
    )
    op.create_index("ix_upload_parts_sha256", "upload_parts", ["sha256"])


def downgrade():
    op.drop_table("upload_parts")
    op.drop_table("uploads")
    op.drop_index("uq_submissions_idempotency_key", "submissions")
    op.drop_column("submissions", "idempotency_key")
