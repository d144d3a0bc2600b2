"""How Alembic reaches the database.

The service hands over its own connection in ``config.attributes`` and wants one
transaction around everything. The command line names a URL instead. Logging is
never configured here: that would silence the service's own log.
"""

from pathlib import Path

from alembic import context
from ngshare.db.engine import make_engine
from ngshare.db.models import Base
from ngshare.db.progress_bar import ProgressBar
from ngshare.db.urls import parse_url

config = context.config


def configure(connection):
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        # SQLite can do it, once its driver is kept from beginning transactions by itself.
        transactional_ddl=True,
        compare_server_default=True,
    )


def run(connection):
    configure(connection)
    with context.begin_transaction():
        context.run_migrations()


def run_from_command_line():
    given = context.get_x_argument(as_dictionary=True)
    url = parse_url(given.get("database") or config.get_main_option("sqlalchemy.url"))
    if "storage" in given:
        config.attributes.update(storage=Path(given["storage"]), progress=ProgressBar)
    engine = make_engine(url, wal=False, writes=True)
    with engine.begin() as connection:
        run(connection)
    engine.dispose()


if context.is_offline_mode():
    raise SystemExit("ngshare's migrations move data too, so they need a database, not --sql")
if "connection" in config.attributes:
    run(config.attributes["connection"])
else:
    run_from_command_line()
