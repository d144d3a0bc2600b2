"""``ngshare db backup`` and ``ngshare db restore``: the whole site, there and back."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL
from traitlets import Bool, Unicode

from ngshare.admin import backup, restore
from ngshare.blobs import open_folder_store
from ngshare.commands.base import DAMAGE, DONE, YES, Command, CommandError, count, size
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
    takes = (1, 1)
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
        folder = Path(self.words[0])
        store = self.open_storage()
        here, site = folder.resolve(), Path(self.storage).resolve()
        if here == site or site in here.parents or here in site.parents:
            raise CommandError(
                f"{folder} and the storage {self.storage} are in each other: name another"
            )
        with (
            self.open_database() as database,
            self.progress("Backing up") as started,
        ):
            copied = backup.make(database, store, folder, verify=self.verify, started=started)
        manifest = copied.manifest
        self.say(
            f"{folder} holds {count(manifest.files - len(manifest.damaged), 'file')} "
            f"and {count(sum(manifest.rows.values()), 'record')}, as of {manifest.made}."
        )
        self.say(f"Copied {count(copied.files, 'new file')}, {size(copied.bytes)}.")
        if not manifest.damaged:
            return DONE
        self.say(
            f"{count(len(manifest.damaged), 'file of the site is', 'files of the site are')} "
            "damaged and not in the backup: ngshare storage check says which."
        )
        return DAMAGE


class Restore(Command):
    """Bring a site back from a backup, into --database and --storage.

    The backup is read whole first; a damaged or incomplete one is refused. The database
    may be of the other kind: so a site moves from SQLite to PostgreSQL, and back. What the
    database held before is put aside in the storage, in a backup of its own. If it is
    stopped halfway, start it again. Stop the service before, or restart it after.
    """

    name = Unicode("ngshare db restore")
    usage = "DIR"
    takes = (1, 1)
    flags = YES
    examples = Unicode("""
    ngshare db restore /backup/ngshare
    ngshare db restore /backup/ngshare --database postgresql://ngshare@db.example.org/ngshare
    """)

    def run(self) -> int:
        folder = Path(self.words[0])
        manifest = backup.read_manifest(folder)
        url = self._database_url()
        self.say(
            f"This restores into the database {show_url(url)} and the storage "
            f"{Path(self.storage).absolute()}."
        )
        self.say(
            f"{folder} holds {count(manifest.files, 'file')} ({size(manifest.bytes)}) and "
            f"{count(sum(manifest.rows.values()), 'record')}, as of {manifest.made}."
        )
        if self._holds_anything(url):
            self.say(
                f"{show_url(url)} is not empty. All its records will be replaced. They are first "
                f"put aside in {Path(self.storage) / 'aside'}."
            )
            self.confirm("Replace them?")
        with self.progress("Checking the backup") as started:
            source = restore.check(folder, started)
        store = open_folder_store(self.storage)
        self.upgrade(url, with_storage=False)
        with (
            self.open_database() as database,
            self.progress("Restoring") as started,
        ):
            aside = restore.restore(
                self.caller, source, database, store, Path(self.storage), started
            )
        self.say(f"Restored {show_url(url)} and {self.storage}.")
        if aside is not None:
            self.tell_way_back("To go back:", "ngshare db restore", aside)
        if manifest.damaged:
            self.say(
                f"{count(len(manifest.damaged), 'file')} had been damaged when the backup was "
                "made: ngshare storage check says which."
            )
        self.say("If the service runs, restart it now.")
        return DONE

    def _holds_anything(self, url: URL) -> bool:
        """Whether there are records to lose. Raises CommandError when that cannot be known."""
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            return False
        found = migrate.revision_of(url)
        if found is None:
            return False
        if found != migrate.head():
            raise CommandError(
                f"the database {show_url(url)} is at revision {found}: upgrade it first with "
                "ngshare db upgrade, or name another"
            )
        database = Database(url)
        try:
            return restore.holds_anything(database)
        finally:
            database.close()
