"""The schema of ngshare 0.5 and 0.6: files have a size.

Revision: 1921a169739b
Follows: aa00db20c10a
"""

import sqlalchemy as sa

from alembic import op

revision = "1921a169739b"
down_revision = "aa00db20c10a"
branch_labels = None
depends_on = None


def upgrade():
    if op.get_bind().dialect.name == "sqlite":
        op.add_column("files", sa.Column("size", sa.INTEGER))


def downgrade():
    if op.get_bind().dialect.name == "sqlite":
        op.drop_column("files", "size")
