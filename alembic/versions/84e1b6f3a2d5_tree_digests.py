"""The digest and the number of files of each tree, and the key that signs receipts.

The digest is that of what ``sha256sum`` prints for the files of the tree, sorted by path; a file
whose content was lost counts with a digest of zeros. The service makes the key when it is needed.

Revision: 84e1b6f3a2d5
Follows: 5d2f8c41b7a9
"""

import hashlib
from itertools import groupby

import sqlalchemy as sa

from alembic import op

revision = "84e1b6f3a2d5"
down_revision = "5d2f8c41b7a9"
branch_labels = None
depends_on = None

BATCH_SIZE = 1000

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Moment = sa.DateTime(timezone=True)

trees = sa.table("trees", *map(sa.column, ("id", "digest", "file_count")))
files = sa.table("files", *map(sa.column, ("tree_id", "path", "sha256")))

SET_DIGEST = (
    sa.update(trees)
    .where(trees.c.id == sa.bindparam("tree"))
    .values(digest=sa.bindparam("new_digest"), file_count=sa.bindparam("new_count"))
)


def upgrade():
    op.add_column(
        "trees",
        sa.Column("digest", sa.LargeBinary(32), nullable=False, server_default=sa.text("''")),
    )
    op.add_column(
        "trees", sa.Column("file_count", sa.Integer, nullable=False, server_default=sa.text("0"))
    )
    op.create_table(
        "signing_keys",
        sa.Column("id", Id, primary_key=True),
        sa.Column("private_key", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", Moment, nullable=False),
    )
    connection = op.get_bind()
    connection.execute(sa.update(trees).values(digest=hashlib.sha256(b"").digest()))
    query = sa.select(files.c.tree_id, files.c.path, files.c.sha256).order_by(files.c.tree_id)
    rows = connection.execute(query.execution_options(yield_per=BATCH_SIZE))
    batch = []
    for tree, of_tree in groupby(rows, lambda row: row.tree_id):
        batch.append(describe(tree, of_tree))
        if len(batch) == BATCH_SIZE:
            connection.execute(SET_DIGEST, batch)
            batch = []
    if batch:
        connection.execute(SET_DIGEST, batch)


def describe(tree, rows):
    lines = sorted((row.path.encode(), bytes(row.sha256 or bytes(32)).hex()) for row in rows)
    text = b"".join(b"%s  %s\n" % (sha256.encode(), path) for path, sha256 in lines)
    digest = hashlib.sha256(text).digest()
    return {"tree": tree, "new_digest": digest, "new_count": len(lines)}


def downgrade():
    op.drop_table("signing_keys")
    op.drop_column("trees", "file_count")
    op.drop_column("trees", "digest")
