"""``ngshare db current``, ``upgrade`` and ``history``: show and upgrade the database's schema."""

from __future__ import annotations

from pathlib import Path

from traitlets import Unicode

from ngshare.app import Ngshare
from ngshare.commands.base import EXIT_FAILED, EXIT_OK, Command
from ngshare.db import migrate, snapshots
from ngshare.db.urls import show_url


class Db(Command):
    """Look at the database, bring it up to date, back up and restore the site."""

    name = Unicode("ngshare db")
    subcommands = {
        "current": ("ngshare.commands.db.Current", "Say which revision the database is at"),
        "upgrade": ("ngshare.commands.db.Upgrade", "Bring the database to this program's revision"),
        "backup": ("ngshare.commands.backup.Backup", "Copy the database and every file"),
        "restore": ("ngshare.commands.backup.Restore", "Bring the site back from a backup"),
        "revert": ("ngshare.commands.revert.Revert", "Undo an upgrade, by the backup before it"),
        "history": (
            "ngshare.commands.db.History",
            "List the revisions and the backups before them",
        ),
    }
    examples = Unicode("""
    ngshare db current
    """)


class Current(Command):
    """Say which revision the database is at, and whether it is the one this program needs.

    Ends with exit code 0 when it is, with 1 when it is not.
    """

    name = Unicode("ngshare db current")
    examples = Unicode("""
    ngshare db current --database sqlite:////srv/ngshare/ngshare.db
    """)

    def run(self) -> int:
        url = self.existing_database_url()
        revision, head = migrate.read_revision(url), migrate.head()
        self.print_line(f"Database: {show_url(url)}")
        self.print_line(f"Revision: {revision or 'none'}")
        if revision == head:
            self.print_line("It is up to date.")
            return EXIT_OK
        self.print_line(
            f"This ngshare needs {head}: run ngshare db upgrade, or start the service once."
        )
        return EXIT_FAILED


class Upgrade(Command):
    """Bring the database to this program's revision, as the service does when it starts.

    It is all or nothing, and one upgrade runs at a time. A SQLite database that
    holds anything is copied before; of a PostgreSQL database the backup is yours
    to make. Stop an older ngshare before: it does not know the new revision. A site
    of ngshare 0.6 is adopted, with the files in its storage.
    """

    name = Unicode("ngshare db upgrade")
    flags = {"adopt-without-files": Ngshare.flags["adopt-without-files"]}
    examples = Unicode("""
    ngshare db upgrade
    ngshare db upgrade --database postgresql://ngshare@db.example.org/ngshare
    """)

    def run(self) -> int:
        url = self._database_url()
        # Only the adoption of a 0.6 site needs the storage; a missing folder is not created.
        before, after = self.upgrade(url, with_storage=Path(self.storage).is_dir())
        if before == after:
            self.print_line(f"{show_url(url)} is up to date, at revision {after}.")
        else:
            change = f"upgraded from {before} to" if before else "newly created, at revision"
            self.print_line(f"{show_url(url)} is {change} {after}.")
        return EXIT_OK


class History(Command):
    """List the revisions that databases of ngshare went through, the oldest first.

    Shows where this database is, and the backups of it that upgrades made.
    """

    name = Unicode("ngshare db history")
    examples = Unicode("""
    ngshare db history
    """)

    def run(self) -> int:
        url = self.existing_database_url()
        current = migrate.read_revision(url)
        for revision, title in migrate.list_revisions():
            mark = "  <- the database is here" if revision == current else ""
            self.print_line(f"{revision}  {title}{mark}")
        if current is None:
            self.print_line("The database is empty: it was never upgraded.")
        if url.get_backend_name() == "sqlite":
            for backup in snapshots.list_backups(Path(url.database or "")):
                self.print_line(f"Backup of revision {backup.revision}: {backup.path}")
        return EXIT_OK
