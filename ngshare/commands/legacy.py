"""``ngshare storage remove-legacy``: the end of the way back to ngshare 0.6."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from traitlets import Bool, Unicode

from ngshare.admin import legacy_files
from ngshare.admin.legacy_files import LegacyFile, LegacyFiles
from ngshare.commands.base import DONE, YES, Command, CommandError, agree, count, size
from ngshare.db.progress import Progress

SHOWN = 20
"""How many files of a kind are named."""


class RemoveLegacy(Command):
    """Remove the names that the files of an adopted site had in ngshare 0.6.

    A site of ngshare 0.6 keeps them when it is adopted, beside the blobs of the same bytes, so
    that `ngshare db revert` leads back to it. After this command nothing does. Reads each of the
    files, and removes it only when its blob holds just these bytes. Says what it will remove,
    and asks.
    """

    name = Unicode("ngshare storage remove-legacy")
    flags = {
        **YES,
        "orphans": (
            {"RemoveLegacy": {"orphans": True}},
            "Also the files of ngshare 0.6 that belong to nothing, which are nowhere else",
        ),
    }
    examples = Unicode("""
    ngshare storage remove-legacy
    ngshare storage remove-legacy --orphans
    """)

    orphans = Bool(False, help="Also the files of ngshare 0.6 that belong to nothing").tag(
        config=True
    )

    def run(self) -> int:
        store, folder = self.open_storage(), Path(self.storage)
        with self.open_database() as database:
            files = legacy_files.list_files(folder)
            with Progress("Reading the files of ngshare 0.6", len(files)) as progress:
                found = legacy_files.sort_files(database, store, files, progress.advance)
            if self.orphans and found.orphans and not database.read(legacy_files.was_adopted):
                raise CommandError(
                    f"{database} was not adopted from ngshare 0.6, so nobody knows whose these "
                    "files are: name the right one with --database"
                )
            self._tell(found)
            unwanted = [*found.adopted, *(found.orphans if self.orphans else [])]
            if not unwanted:
                self.say("Nothing to remove.")
                return DONE
            self.confirm("Remove them for good? There is no way back to ngshare 0.6 then.")
            for file in unwanted:
                file.path.unlink(missing_ok=True)
        self.say(f"Removed {count(len(unwanted), 'file')}, {size(_freed(unwanted))} freed.")
        return DONE

    def _tell(self, found: LegacyFiles) -> None:
        if found.adopted:
            self.say(
                f"{count(len(found.adopted), 'file')} of ngshare 0.6 "
                f"{agree(len(found.adopted), 'is a blob', 'are blobs')} as well, and will be "
                f"removed under the old {agree(len(found.adopted), 'name', 'names')}. That frees "
                f"{size(_freed(found.adopted))}: only copies take room, not hard links."
            )
        if found.needed:
            self.say(
                f"{count(len(found.needed), 'file')} will be kept: the database names "
                f"{agree(len(found.needed), 'it', 'them')}, and the blob is missing or damaged "
                "(see ngshare storage check):"
            )
            self._name(found.needed)
        if found.orphans:
            number, room = len(found.orphans), sum(file.size for file in found.orphans)
            how = "will be removed" if self.orphans else "will be kept, but with --orphans"
            self.say(
                f"{count(number, 'file')} ({size(room)}) of ngshare 0.6 "
                f"{agree(number, 'belongs', 'belong')} to nothing, and {how}:"
            )
            self._name(found.orphans)

    def _name(self, files: Sequence[LegacyFile]) -> None:
        for file in files[:SHOWN]:
            self.say(f"  {file.path} ({size(file.size)})")
        if len(files) > SHOWN:
            self.say(f"  and {len(files) - SHOWN:,} more")


def _freed(files: Sequence[LegacyFile]) -> int:
    return sum(file.size for file in files if not file.linked)
