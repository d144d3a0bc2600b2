"""``ngshare storage``: check the files, and collect those that nothing names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from traitlets import Integer, Unicode

from ngshare.admin import legacy_files, storage
from ngshare.admin.storage import Collected, Damage, Report, Use
from ngshare.blobs import Amount, ManagedBlobStore, gc
from ngshare.blobs.gc import SHARDS
from ngshare.commands.base import (
    DAMAGE,
    DONE,
    SETTINGS,
    YES,
    Command,
    CommandError,
    agree,
    count,
    size,
)
from ngshare.db.progress import Progress
from ngshare.db.transactions import Database
from ngshare.protocol.times import format_time


class Storage(Command):
    """Check the files that the site keeps, and collect those that nothing names any more."""

    name = Unicode("ngshare storage")
    subcommands = {
        "check": ("ngshare.commands.storage.Check", "Read every file, and find damage"),
        "gc": (
            "ngshare.commands.storage.Gc",
            "Move files that nothing names into the quarantine, and delete those there for long",
        ),
        "restore-quarantine": (
            "ngshare.commands.storage.RestoreQuarantine",
            "Move all files in the quarantine back, after a gc with the wrong database",
        ),
        "remove-legacy": (
            "ngshare.commands.legacy.RemoveLegacy",
            "Remove the old names of files that were adopted from ngshare 0.6",
        ),
    }
    examples = Unicode("""
    ngshare storage check
    """)


class Check(Command):
    """Read every file in the storage, and compare it with what the database says of it.

    Finds files that are missing, changed, or not what their rows say, and says whose
    they are. Files in the quarantine that the database names are moved back; it changes nothing
    else, and uploads go on meanwhile. Ends with exit code 0 when all is well, 2 when there is
    damage, 1 when it could not look.
    """

    name = Unicode("ngshare storage check")
    examples = Unicode("""
    ngshare storage check
    ngshare storage check --database sqlite:////srv/ngshare/ngshare.db --storage /srv/ngshare/files
    """)

    def run(self) -> int:
        store = self.open_storage()
        progress = Progress("Checking the storage", SHARDS)
        with self.open_database() as database, progress:
            report = storage.check(database, store, progress.advance)
        self._tell(report)
        if left := legacy_files.list_files(Path(self.storage)):
            self.say(
                f"{count(len(left), 'file is', 'files are')} there under a name of ngshare 0.6, "
                "for the way back to it: ngshare storage remove-legacy removes "
                f"{agree(len(left), 'it', 'them')}."
            )
        return DAMAGE if report.damage else DONE

    def _tell(self, report: Report) -> None:
        for damage in report.damage:
            self._tell_damage(damage)
        if report.lost_count:
            self.say(
                f"{count(report.lost_count, 'file had lost its', 'files had lost their')} bytes "
                "before this site was adopted from ngshare 0.6; that is known, and no new damage:"
            )
            self._tell_uses(report.lost, report.lost_count)
        if report.strangers:
            number = len(report.strangers)
            verb = agree(number, "is", "are")
            self.say(f"{count(number, 'file')} in {self.storage} {verb} not ngshare's:")
            for name in report.strangers[:5]:
                self.say(f"  {name}")
        if report.unnamed.files:
            self.say(
                f"{count(report.unnamed.files, 'file')} ({size(report.unnamed.bytes)}) "
                f"{agree(report.unnamed.files, 'is', 'are')} named by nothing, or not yet: "
                "ngshare storage gc collects those that are old."
            )
        if report.put_back:
            self.say(
                f"{count(report.put_back, 'file was', 'files were')} in the quarantine, though the "
                f"database names {agree(report.put_back, 'it', 'them')}: moved back. Did ngshare "
                "storage gc run with another database?"
            )
        if report.quarantined.files:
            self.say(
                f"{count(report.quarantined.files, 'file')} ({size(report.quarantined.bytes)}) "
                f"{agree(report.quarantined.files, 'is', 'are')} in the quarantine, where ngshare "
                "storage gc moved what nothing named."
            )
        self.say(
            f"Read {count(report.files, 'file')}, {size(report.bytes)}: "
            + (f"{len(report.damage):,} DAMAGED." if report.damage else "no damage.")
        )
        if report.damage:
            self.say(
                "Get damaged files back from a backup: copy each to the path named above, from "
                "the same path below the backup's folder, then check again. Without a backup: "
                "whoever has the same file can hand it in or release it again, after the damaged "
                "one was moved away. See docs/backup.md."
            )

    def _tell_damage(self, damage: Damage) -> None:
        self.say(f"DAMAGED {damage.file}: {damage.what}")
        if damage.times:
            self._tell_uses(damage.uses, damage.times)
        else:
            self.say("  Nothing names it; move it away, else equal content would count on it.")

    def _tell_uses(self, uses: list[Use], times: int) -> None:
        for use in uses:
            self.say(f"  {describe(use)}")
        if times > len(uses):
            self.say(f"  and {times - len(uses):,} more")


def describe(use: Use) -> str:
    """Where a file is named, in words."""
    words = [f"course {use.course}"]
    if use.assignment is not None:
        words.append(f"assignment {use.assignment}")
    if use.student is not None:
        words.append(f"{'old feedback' if use.kind == 'replaced' else use.kind} of {use.student}")
    elif use.kind == "replaced":
        words.append("an old release" if use.assignment else "an old release or feedback")
    else:
        words.append(use.kind)
    if use.submitted_at is not None:
        words.append(f"handed in {format_time(use.submitted_at)}")
    words.append(f"file {use.path}")
    return ", ".join(words) + (" (in the trash)" if use.removed else "")


class Gc(Command):
    """Move the files that nothing names into the quarantine, and delete them days later.

    Files become unnamed when `ngshare trash purge` removes what named them, or when an
    upload is interrupted. They are moved into the folder `quarantine` of the storage, and
    deleted from there by a gc that runs seven days later (--days), if nothing names them
    then. Whoever needs one before that gets it back from there, so this can run beside
    uploads. Removes what interrupted uploads left, too. Says what it will do, and asks.
    """

    name = Unicode("ngshare storage gc")
    aliases = {**SETTINGS, "hours": "Gc.hours", "days": "Gc.days"}
    flags = YES
    examples = Unicode("""
    ngshare storage gc
    ngshare storage gc --yes                   # every night, by cron
    ngshare storage gc --yes --days 0          # free what was moved more than an hour or two ago
    """)

    hours = Integer(24, min=0, help="Move only what is older than so many hours").tag(config=True)
    days = Integer(
        gc.DAYS, min=0, help="Delete what has been in the quarantine for so many days"
    ).tag(config=True)

    def run(self) -> int:
        store, folder = self.open_storage(), Path(self.storage)
        with self.open_database() as database:
            old = [*storage.put_aside(folder), *storage.backups_beside(database)]
            found = self._collect("Looking for unnamed files", database, store, old, dry=True)
            self._tell(found, old, database)
            if not self._number(found):
                return DONE
            if storage.names_none(database, store):
                self._refuse_to_guess(database)
            self.confirm("Go on?")
            done = self._collect("Collecting", database, store, old, dry=False)
        self._tell_done(done)
        return DONE

    def _refuse_to_guess(self, database: Database) -> None:
        """Let somebody decide whether this is the right database. Raises CommandError."""
        text = (
            f"{database} names not one file in {self.storage}: is it the database of these files?"
        )
        if self.yes:
            raise CommandError(f"{text} If so, run this without --yes, and confirm")
        self.say(text)

    @staticmethod
    def _number(found: Collected) -> int:
        return sum(
            each.files for each in (found.moved, found.deleted, found.put_back, found.leftovers)
        )

    def _tell_done(self, done: Collected) -> None:
        parts = []
        for amount, what in (
            (done.moved, "moved {} to the quarantine"),
            (done.put_back, "moved {} back"),
            (done.deleted, "deleted {}"),
            (done.leftovers, "removed {} of interrupted uploads"),
        ):
            if amount.files:
                parts.append(what.format(f"{count(amount.files, 'file')}, {size(amount.bytes)}"))
        text = "; ".join(parts) or "nothing was left to do"
        self.say(f"{text[0].upper()}{text[1:]}.")

    def _tell(
        self,
        found: Collected,
        old: Sequence[Path],
        database: Database,
    ) -> None:
        age = f"older than {count(self.hours, 'hour')}"
        if found.kept_for_old.files:
            self.say(
                f"{self._amount(found.kept_for_old)} {age} "
                f"{agree(found.kept_for_old.files, 'is', 'are')} kept for databases "
                "that restores put aside or upgrades backed up. Remove what you do not want to go "
                "back to:"
            )
            for path in old:
                self.say(f"  {path}")
        if found.kept_as_newer.files:
            self.say(
                f"{self._amount(found.kept_as_newer)} {age} "
                f"{agree(found.kept_as_newer.files, 'is', 'are')} kept, though named by nothing: "
                f"newer than all that {database} knows. Is it an old copy of the site's database?"
            )
        if found.moved.files:
            self.say(
                f"{self._amount(found.moved)} {age} {agree(found.moved.files, 'is', 'are')} named "
                f"by nothing in {database} and will be moved to the quarantine."
            )
        if found.put_back.files:
            self.say(
                f"{self._amount(found.put_back)} in the quarantine "
                f"{agree(found.put_back.files, 'is', 'are')} named again and will be moved back."
            )
        if found.deleted.files:
            self.say(
                f"{self._amount(found.deleted)} {agree(found.deleted.files, 'has', 'have')} been "
                f"in the quarantine for {count(self.days, 'day')} and will be deleted for good."
            )
        if found.leftovers.files:
            self.say(f"{self._amount(found.leftovers)} of interrupted uploads will be removed.")
        if not self._number(found):
            self.say(f"Nothing to collect: no file that nothing names is {age}.")

    @staticmethod
    def _amount(amount: Amount) -> str:
        return f"{count(amount.files, 'file')} ({size(amount.bytes)})"

    def _collect(
        self,
        what: str,
        database: Database,
        store: ManagedBlobStore,
        old: Sequence[Path],
        *,
        dry: bool,
    ) -> Collected:
        with Progress(what, SHARDS) as progress:
            return storage.collect(
                database,
                store,
                hours=self.hours,
                days=self.days,
                step=progress.advance,
                old=old,
                dry=dry,
            )


class RestoreQuarantine(Command):
    """Move every file in the quarantine back to its place.

    It undoes what `ngshare storage gc` did with the wrong database, as long as that has not
    deleted the files: then nobody missed any, for a file that somebody needs is moved back
    when it is read. The next gc moves again what nothing names.
    """

    name = Unicode("ngshare storage restore-quarantine")
    examples = Unicode("""
    ngshare storage restore-quarantine
    """)

    def run(self) -> int:
        moved = gc.put_back_all(self.open_storage())
        self.say(f"Moved {count(moved.files, 'file')}, {size(moved.bytes)}, back.")
        return DONE
