"""``ngshare db revert``: undo an upgrade of the database, by the backup made before it."""

from __future__ import annotations

from pathlib import Path

from traitlets import Unicode

from ngshare.commands.base import EXIT_OK, YES_FLAG, Command, CommandError
from ngshare.db import revert, snapshots
from ngshare.db.service_lock import exclusive_service_lock
from ngshare.db.snapshots import Backup
from ngshare.db.urls import show_url


class Revert(Command):
    """Put the backup that was made before an upgrade in the place of the database.

    Without BACKUP it is the newest of another revision. What is there now becomes a
    backup too, so that this can be undone. The files of a site of ngshare 0.6 are all still
    there, unless `ngshare storage remove-legacy` removed them. Stop the service before: while it
    runs, this refuses. Start the ngshare of then after, for this one would upgrade again.
    """

    name = Unicode("ngshare db revert")
    usage = "[BACKUP]"
    argument_count = (0, 1)
    flags = YES_FLAG
    examples = Unicode("""
    ngshare db revert
    ngshare db revert /srv/ngshare/ngshare.db.backup-20261123T162608.682Z-1921a169739b
    """)

    def run(self) -> int:
        url = self.existing_database_url()
        backup = revert.find_backup(url, Path(self.arguments[0]) if self.arguments else None)
        revision = snapshots.stored_revision(Path(url.database or ""))
        with exclusive_service_lock(Path(url.database or "")):
            pass  # Refuse before asking for confirmation.
        self._require_files(backup)
        self.print_line(
            f"This will put {backup.path}, of revision {backup.revision}, in place of "
            f"{show_url(url)}, of revision {revision or 'none'}; what was stored since will be "
            "missing there, and is kept as a backup."
        )
        self.confirm("Put the backup in place?")
        before = revert.revert(url, backup)
        self.print_undo_command("Done. To undo this:", "ngshare db revert", before)
        return EXIT_OK

    def _require_files(self, backup: Backup) -> None:
        """Print how many files ngshare 0.6 would miss. Raises CommandError if it is all."""
        total, missing = revert.count_missing_files(backup, Path(self.storage))
        if total and missing == total:
            raise CommandError(
                f"not one of the {total:,} files that {backup.path} names is in {self.storage}: "
                "name the right folder with --storage. After ngshare storage remove-legacy there "
                "is no way back to ngshare 0.6"
            )
        if missing:
            self.print_note(
                f"{missing:,} of the {total:,} files that this backup names are not in "
                f"{self.storage}: ngshare 0.6 will not have them."
            )
