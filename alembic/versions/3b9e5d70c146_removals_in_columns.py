"""What was removed or replaced, by whom and where it belonged, in columns of its own.

Until now that stood in the audit log only, under the moment that the removed row carries.
This revision reads it there for the last time; what the log does not tell stays unknown.

Revision: 3b9e5d70c146
Follows: 7c1f0a52d3e8
"""

from datetime import datetime, timezone

import sqlalchemy as sa

from alembic import op

revision = "3b9e5d70c146"
down_revision = "7c1f0a52d3e8"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Moment = sa.DateTime(timezone=True)
Text = sa.String().with_variant(sa.String(collation="C"), "postgresql")

courses = sa.table(
    "courses", sa.column("id"), sa.column("removed_at", Moment), sa.column("removed_by")
)
users = sa.table("users", sa.column("id"), sa.column("name"))
memberships = sa.table(
    "memberships",
    *(sa.column("id"), sa.column("course_id"), sa.column("user_id"), sa.column("role")),
    *(sa.column("removed_at", Moment), sa.column("removed_by")),
)
assignments = sa.table(
    "assignments",
    *(sa.column("id"), sa.column("course_id"), sa.column("name")),
    *(sa.column("removed_at", Moment), sa.column("removed_by")),
)
submissions = sa.table(
    "submissions",
    *(sa.column("id"), sa.column("assignment_id"), sa.column("student_id")),
    sa.column("submitted_at", Moment),
)
trees = sa.table("trees", sa.column("id"), sa.column("course_id"), sa.column("replaced_at", Moment))
replaced_trees = sa.table(
    "replaced_trees",
    *(sa.column("tree_id"), sa.column("assignment_id"), sa.column("submission_id")),
    *(sa.column("replaced_at", Moment), sa.column("replaced_by")),
)
log = sa.table(
    "audit_log",
    *(sa.column("id"), sa.column("at", Moment), sa.column("actor"), sa.column("event")),
    *(sa.column("course_id"), sa.column("assignment"), sa.column("student")),
    sa.column("detail", sa.JSON),
)


def upgrade():
    for table in ("courses", "memberships", "assignments"):
        op.add_column(table, sa.Column("removed_by", Text))
    op.create_table(
        "replaced_trees",
        sa.Column("tree_id", Id, sa.ForeignKey("trees.id"), primary_key=True),
        sa.Column("assignment_id", Id, sa.ForeignKey("assignments.id"), index=True),
        sa.Column("submission_id", Id, sa.ForeignKey("submissions.id"), index=True),
        sa.Column("replaced_at", Moment, nullable=False),
        sa.Column("replaced_by", Text),
    )
    connection = op.get_bind()
    fill_removed_by(connection)
    connection.execute(
        sa.insert(replaced_trees).from_select(
            ["tree_id", "replaced_at"],
            sa.select(trees.c.id, trees.c.replaced_at).where(trees.c.replaced_at.is_not(None)),
        )
    )
    fill_owners(connection)
    op.drop_column("trees", "replaced_at")


def fill_removed_by(connection):
    of_course = sa.and_(
        log.c.course_id == courses.c.id,
        log.c.at == courses.c.removed_at,
        log.c.event == "course removed",
    )
    rows = connection.execute(
        sa.select(courses.c.id, log.c.actor).select_from(courses).join(log, of_course)
    )
    set_removed_by(connection, courses, dict(rows.all()))
    of_assignment = sa.and_(
        log.c.course_id == assignments.c.course_id,
        log.c.at == assignments.c.removed_at,
        log.c.event == "assignment removed",
        log.c.assignment == assignments.c.name,
    )
    rows = connection.execute(
        sa.select(assignments.c.id, log.c.actor).select_from(assignments).join(log, of_assignment)
    )
    set_removed_by(connection, assignments, dict(rows.all()))
    of_member = sa.and_(
        log.c.course_id == memberships.c.course_id,
        log.c.at == memberships.c.removed_at,
        log.c.event == memberships.c.role + " removed",
    )
    rows = connection.execute(
        sa.select(memberships.c.id, users.c.name, log.c.actor, log.c.student, log.c.detail)
        .select_from(memberships)
        .join(users, users.c.id == memberships.c.user_id)
        .join(log, of_member)
    )
    set_removed_by(
        connection,
        memberships,
        {
            number: actor
            for number, name, actor, student, detail in rows
            if name in (student, (detail or {}).get("instructor"))
        },
    )


def set_removed_by(connection, table, actors):
    if actors:
        connection.execute(
            sa.update(table)
            .where(table.c.id == sa.bindparam("number"))
            .values(removed_by=sa.bindparam("actor")),
            [{"number": number, "actor": actor} for number, actor in actors.items()],
        )


def fill_owners(connection):
    """Say what each replaced tree belonged to, where the log names exactly one thing."""
    found = {}
    of_tree = sa.and_(log.c.course_id == trees.c.course_id, log.c.at == trees.c.replaced_at)
    of_assignment = sa.and_(
        assignments.c.course_id == trees.c.course_id, assignments.c.name == log.c.assignment
    )
    releases = (
        sa.select(trees.c.id, log.c.actor, assignments.c.id)
        .select_from(trees)
        .join(log, of_tree)
        .join(assignments, of_assignment)
        .where(log.c.event.in_(["assignment released", "release restored"]))
    )
    for tree, actor, assignment in connection.execute(releases):
        found.setdefault(tree, set()).add((actor, assignment, None))
    of_submission = sa.and_(
        submissions.c.assignment_id == assignments.c.id, submissions.c.student_id == users.c.id
    )
    feedback = (
        sa.select(
            *(trees.c.id, log.c.actor, log.c.detail),
            *(assignments.c.id, submissions.c.id, submissions.c.submitted_at),
        )
        .select_from(trees)
        .join(log, of_tree)
        .join(assignments, of_assignment)
        .join(users, users.c.name == log.c.student)
        .join(submissions, of_submission)
        .where(log.c.event.in_(["feedback given", "feedback restored"]))
    )
    for tree, actor, detail, assignment, submission, at in connection.execute(feedback):
        if (detail or {}).get("timestamp") == shown(at):
            found.setdefault(tree, set()).add((actor, assignment, submission))
    values = [
        {"tree": tree, "actor": actor, "assignment": assignment, "submission": submission}
        for tree, owners in found.items()
        # Of two changes in one course at one moment, no other record tells which it was.
        if len(owners) == 1
        for actor, assignment, submission in owners
    ]
    if values:
        connection.execute(
            sa.update(replaced_trees)
            .where(replaced_trees.c.tree_id == sa.bindparam("tree"))
            .values(
                replaced_by=sa.bindparam("actor"),
                assignment_id=sa.bindparam("assignment"),
                submission_id=sa.bindparam("submission"),
            ),
            values,
        )


def shown(at):
    """Return a time as the audit log's details write it. SQLite's times are UTC without a zone."""
    if at.tzinfo is not None:
        at = at.astimezone(timezone.utc).replace(tzinfo=None)
    return datetime.isoformat(at, " ", "microseconds") + " UTC"


def downgrade():
    op.add_column("trees", sa.Column("replaced_at", Moment))
    replaced_at = (
        sa.select(replaced_trees.c.replaced_at)
        .where(replaced_trees.c.tree_id == trees.c.id)
        .scalar_subquery()
    )
    op.execute(sa.update(trees).values(replaced_at=replaced_at))
    op.drop_table("replaced_trees")
    for table in ("courses", "memberships", "assignments"):
        op.drop_column(table, "removed_by")
