"""``ngshare db backup`` and ``ngshare db restore``: back up a whole site, and restore it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL
from traitlets import Bool, Unicode

from ngshare.admin.backup import make_backup
from ngshare.admin.backup_manifest import read_manifest
from ngshare.admin.restore import has_rows, restore_backup, verify_backup
from ngshare.blobs import open_folder_store
from ngshare.commands.base import EXIT_DAMAGE, EXIT_OK, YES_FLAG, Command, CommandError
from ngshare.commands.formatting import format_count, format_size
from ngshare.db import migrate
from ngshare.db.transactions import Database
from ngshare.db.urls import show_url


class Backup(Command):
    """Copy the database, and every file that it names, into a folder.

    The copy agrees with itself, also while the service runs and students hand in. Into a
    folder that holds a backup of the site already only what is new is copied. Every
    copied file is compared with its name, and is on the disk when this ends. Ends with
    exit code 2 when files of the site are damaged: all else is in the backup then.
    """

    name = Unicode("ngshare db backup")
    usage = "DIR"
    argument_count = (1, 1)
    flags = {
        "verify": (
            {"Backup": {"verify": True}},
            "Read again what the folder holds already, and copy anew what is damaged there",
        )
    }
    examples = Unicode("""
    ngshare db backup /backup/ngshare
    ngshare db backup /backup/ngshare --verify
    """)

    verify = Bool(False, help="Read again what the folder holds already").tag(config=True)

    def run(self) -> int:
        folder = Path(self.arguments[0])
        store = self.open_storage()
        target, storage = folder.resolve(), Path(self.storage).resolve()
        if target == storage or storage in target.parents or target in storage.parents:
            raise CommandError(
                f"{folder} and the storage {self.storage} are in each other: name another"
            )
        with (
            self.open_database() as database,
            self.show_progress("Backing up") as start_progress,
        ):
            report = make_backup(
                database, store, folder, verify=self.verify, start_progress=start_progress
            )
        manifest = report.manifest
        self.print_line(
            f"{folder} holds {format_count(manifest.files - len(manifest.damaged), 'file')} "
            f"and {format_count(sum(manifest.rows.values()), 'record')}, as of {manifest.made}."
        )
        self.print_line(
            f"Copied {format_count(report.files, 'new file')}, {format_size(report.bytes)}."
        )
        if not manifest.damaged:
            return EXIT_OK
        damaged = format_count(
            len(manifest.damaged), "file of the site is", "files of the site are"
        )
        self.print_line(
            f"{damaged} damaged and not in the backup: ngshare storage check says which."
        )
        return EXIT_DAMAGE


class Restore(Command):
    """Bring a site back from a backup, into --database and --storage.

    The backup is read whole first; a damaged or incomplete one is refused. The database
    may be of the other kind: so a site moves from SQLite to PostgreSQL, and back. What the
    database held before is put aside in the storage, in a backup of its own. If it is
    stopped halfway, start it again. Stop the service before, or restart it after.
    """

    name = Unicode("ngshare db restore")
    usage = "DIR"
    argument_count = (1, 1)
    flags = YES_FLAG
    examples = Unicode("""
    ngshare db restore /backup/ngshare
    ngshare db restore /backup/ngshare --database postgresql://ngshare@db.example.org/ngshare
    """)

    def run(self) -> int:
        folder = Path(self.arguments[0])
        manifest = read_manifest(folder)
        url = self._database_url()
        self.print_line(
            f"This restores into the database {show_url(url)} and the storage "
            f"{Path(self.storage).absolute()}."
        )
        self.print_line(
            f"{folder} holds {format_count(manifest.files, 'file')} "
            f"({format_size(manifest.bytes)}) and "
            f"{format_count(sum(manifest.rows.values()), 'record')}, as of {manifest.made}."
        )
        if self._has_rows(url):
            self.print_line(
                f"{show_url(url)} is not empty. All its records will be replaced. They are first "
                f"put aside in {Path(self.storage) / 'aside'}."
            )
            self.confirm("Replace them?")
        with self.show_progress("Checking the backup") as start_progress:
            source = verify_backup(folder, start_progress)
        store = open_folder_store(self.storage)
        self.upgrade(url, with_storage=False)
        with (
            self.open_database() as database,
            self.show_progress("Restoring") as start_progress,
        ):
            aside = restore_backup(
                self.caller, source, database, store, Path(self.storage), start_progress
            )
        self.print_line(f"Restored {show_url(url)} and {self.storage}.")
        if aside is not None:
            self.print_undo_command("To go back:", "ngshare db restore", aside)
        if manifest.damaged:
            self.print_line(
                f"{format_count(len(manifest.damaged), 'file')} had been damaged when the backup "
                "was made: ngshare storage check says which."
            )
        self.print_line("If the service runs, restart it now.")
        return EXIT_OK

    def _has_rows(self, url: URL) -> bool:
        """Return whether the database holds any row.

        Raises CommandError when it is at another revision, because its rows cannot be read then.
        """
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            return False
        revision = migrate.read_revision(url)
        if revision is None:
            return False
        if revision != migrate.head():
            raise CommandError(
                f"the database {show_url(url)} is at revision {revision}: upgrade it first with "
                "ngshare db upgrade, or name another"
            )
        database = Database(url)
        try:
            return has_rows(database)
        finally:
            database.close()
