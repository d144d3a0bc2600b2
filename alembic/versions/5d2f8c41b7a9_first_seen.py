"""When each user first sent a request, so that members who never came can be listed.

For users of before, the earliest of what the audit log and the submissions tell. Whoever left
neither counts as never seen until the next request.

Revision: 5d2f8c41b7a9
Follows: 3b9e5d70c146
"""

import sqlalchemy as sa

from alembic import op

revision = "5d2f8c41b7a9"
down_revision = "3b9e5d70c146"
branch_labels = None
depends_on = None

Moment = sa.DateTime(timezone=True)

users = sa.table("users", sa.column("id"), sa.column("name"), sa.column("first_seen_at", Moment))
submissions = sa.table("submissions", sa.column("student_id"), sa.column("submitted_at", Moment))
log = sa.table("audit_log", sa.column("at", Moment), sa.column("actor"))


def upgrade():
    op.add_column("users", sa.Column("first_seen_at", Moment))
    connection = op.get_bind()
    acted = (
        sa.select(users.c.id, sa.func.min(log.c.at, type_=Moment))
        .select_from(log)
        .join(users, users.c.name == log.c.actor)
        .group_by(users.c.id)
    )
    submitted = sa.select(
        submissions.c.student_id, sa.func.min(submissions.c.submitted_at, type_=Moment)
    ).group_by(submissions.c.student_id)
    seen = dict(connection.execute(acted).all())
    for user, at in connection.execute(submitted):
        seen[user] = min(at, seen.get(user, at))
    if seen:
        connection.execute(
            sa.update(users)
            .where(users.c.id == sa.bindparam("user"))
            .values(first_seen_at=sa.bindparam("at")),
            [{"user": user, "at": at} for user, at in seen.items()],
        )


def downgrade():
    op.drop_column("users", "first_seen_at")
