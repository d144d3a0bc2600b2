"""``ngshare export``: everything of a course in one file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from sqlalchemy import Connection
from traitlets import Unicode

from ngshare.actions import audit
from ngshare.admin import export
from ngshare.admin.archive_names import safe_part
from ngshare.admin.export import Exported
from ngshare.commands.base import DAMAGE, DONE, SETTINGS, YES, Command, CommandError, count, size
from ngshare.files import publish


class Export(Command):
    """Pack everything of a course into one zip archive.

    Its roster, what was released, each submission with its feedback, what newer releases
    and feedback replaced, and its audit log, also what is in the trash, with an index.html
    to look at and index.json for programs. A course that is in the trash itself is named by
    its key there, as `ngshare trash list` shows it. It is one consistent state, also while
    the service runs. The archive appears under its name when it is complete. With
    `--output -` it goes to standard output.
    """

    name = Unicode("ngshare export")
    usage = "COURSE"
    takes = (1, 1)
    aliases = {**SETTINGS, "output": "Export.output"}
    flags = YES
    examples = Unicode("""
    ngshare export "Physics 101"
    ngshare export c3                     # in the trash, before it is purged
    ngshare export "Physics 101" --output /backup/physics.zip --yes
    ngshare export "Physics 101" --output - | ssh archive 'cat > physics.zip'
    """)

    output = Unicode(
        help="The archive's file; without it COURSE-DATE.zip in this folder; -: standard output"
    ).tag(config=True)

    def run(self) -> int:
        course = self.words[0]
        store = self.open_storage()
        day = audit.now().strftime("%Y-%m-%d")
        with (
            self.open_database() as database,
            self.progress("Exporting") as started,
            ExitStack() as opened,
        ):
            name = database.read(export.find, self.caller, course).name
            path = Path(self.output or f"{safe_part(name)}-{day}.zip")
            target = opened.enter_context(self._target(path))

            def write(connection: Connection) -> Exported:
                if self.output != "-":  # it may be the second attempt
                    target.seek(0)
                    target.truncate()
                return export.write(connection, self.caller, course, store, target, started)

            done = database.read(write)
        where = "standard output" if self.output == "-" else str(path)
        what = [count(done.assignments, "assignment"), count(done.submissions, "submission")]
        what += [count(done.replaced, "replaced tree")] if done.replaced else []
        self.tell(
            f"Exported {', '.join(what[:-1])} and {what[-1]} to {where}: "
            f"{count(done.files, 'file')}, {size(done.bytes)}."
        )
        if done.lost:
            lost = count(done.lost, "file had lost its", "files had lost their")
            self.tell(f"{lost} bytes before ngshare 1.0.")
        if not done.damaged:
            return DONE
        self.tell(
            f"{count(done.damaged, 'file is', 'files are')} missing or damaged: files.csv and "
            "ngshare storage check say which."
        )
        return DAMAGE

    def tell(self, text: str) -> None:
        """Say something, beside the archive where that goes to standard output."""
        print(text, file=sys.stderr if self.output == "-" else sys.stdout, flush=True)

    @contextmanager
    def _target(self, path: Path) -> Iterator[IO[bytes]]:
        """Where the archive is written to; it gets its name when it is complete."""
        if self.output == "-":
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
            return
        if path.is_dir():
            raise CommandError(f"{path} is a folder: name a file with --output")
        if path.exists():
            print(f"{path} exists already.", flush=True)
            self.confirm("Replace it?")
        part = path.with_name(f"{path.name}.part")
        try:
            # What students handed in is nobody else's business on this machine.
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                yield file
            publish(part, path)
        finally:
            part.unlink(missing_ok=True)
