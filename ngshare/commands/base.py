"""The base class of all commands: settings, access to the site, output, errors and exit codes."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from sqlalchemy import URL
from traitlets import Bool, Unicode
from traitlets.config import Config

from ngshare.actions.access import Caller
from ngshare.admin.progress import StartProgress
from ngshare.app import (
    DATABASE_VARIABLE,
    DEFAULT_DATABASE,
    DEFAULT_STORAGE,
    Ngshare,
    SiteApplication,
)
from ngshare.blobs import ManagedBlobStore, open_folder_store
from ngshare.commands.owner import Owner, find_owner, switch_user
from ngshare.db import migrate
from ngshare.db.progress_bar import ProgressBar
from ngshare.db.transactions import Database
from ngshare.db.urls import parse_url, show_url
from ngshare.errors import ExchangeError, StartError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_DAMAGE = 2
"""The exit code of a command that ran to its end and found damaged or missing files."""

SITE_ALIASES = {
    name: Ngshare.aliases[name] for name in ("database", "storage", "config", "f", "log-level")
}
"""The options that every command takes: the location of the site and the log level."""

YES_FLAG = {"yes": ({"Command": {"yes": True}}, "Do it without asking")}
"""The flag of commands that ask for confirmation: it answers yes."""


class CommandError(StartError):
    """A command cannot do its work. The message is one line that says what to do."""


class Command(SiteApplication):
    """A command of an administrator, for the site that the service is configured to serve."""

    subcommands = {}
    subcommand_description = Unicode("Commands")
    aliases = SITE_ALIASES
    flags = {}
    examples = Unicode()

    arguments: Sequence[str] = ()
    """The positional arguments on the command line."""

    argument_count: ClassVar[tuple[int, int]] = (0, 0)
    """The least and the greatest number of positional arguments."""

    usage: ClassVar[str] = ""
    """The positional arguments as the help shows them, such as ``DIR``."""

    _owner: Owner | None = None
    """The user that this process switched to; None when it was not started by root."""

    yes = Bool(False, help="Do it without asking").tag(config=True)

    def initialize(self, argv: Sequence[str] | None = None) -> None:
        try:
            super().initialize(argv)
        except StartError as error:
            # The hint is to the service's options; the command has its own.
            text = str(error).replace("see ngshare --help-all", f"see {self.name} --help")
            raise CommandError(text) from error

    def start(self) -> None:
        """Run the command, and end the process with its exit code. Raises StartError."""
        if self.subapp is not None:
            self.subapp.start()
            return
        self._set_up_logging()
        self._switch_to_owner()
        try:
            code = self.run()
        except BrokenPipeError:  # the reader has ended: `ngshare log | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = EXIT_OK
        except KeyboardInterrupt:
            raise CommandError("interrupted; it can be started again") from None
        except ExchangeError as error:
            # An error of the storage: its message is for clients, and its cause says more.
            if isinstance(error.__cause__, OSError):
                raise self._explain(error.__cause__) from error
            raise CommandError(error.message) from error
        except OSError as error:
            raise self._explain(error) from error
        self.exit(code)

    def _explain(self, error: OSError) -> CommandError:
        """Return the error to show for ``error``, with the file and the user, if they matter."""
        path = f"{error.filename}: " if error.filename else ""
        hint = ""
        if isinstance(error, PermissionError) and self._owner is not None:
            hint = f"; this runs as {self._owner.name}, so name a place that is that user's"
        return CommandError(f"{path}{error.strerror or error}{hint}")

    def run(self) -> int:
        """Do the work and return the exit code. Raises CommandError in a group of commands."""
        commands = ", ".join(self.subcommands)
        raise CommandError(f"say what to do: {commands}; see {self.name} --help")

    def emit_help(self, classes: bool = False) -> Generator[str, None, None]:
        """Yield the lines of the help, which replaces traitlets' own about classes and traits."""
        usage = " ".join(word for word in (self.name, self.usage, "[OPTIONS]") if word)
        yield from self.help_lines([usage])

    def accept_positionals(self, arguments: Sequence[str]) -> None:
        """Set the positional arguments. Raises CommandError when there are too many or too few."""
        least, most = self.argument_count
        if len(arguments) > most:
            raise CommandError(f"{arguments[most]!r} is not understood; see {self.name} --help")
        if len(arguments) < least:
            raise CommandError(f"it wants {self.usage}; see {self.name} --help")
        self.arguments = list(arguments)

    def update_config(self, config: Config) -> None:
        """Apply new settings; a command reads those of the site from the section ``Ngshare``."""
        service = config.get("Ngshare", {})
        names = SiteApplication.class_trait_names(config=True)
        site = {name: service[name] for name in names if name in service}
        super().update_config(Config({**config, "SiteApplication": site} if site else config))

    @property
    def caller(self) -> Caller:
        """Return the caller for the audit log: ``shell:`` and the name of this machine's user.

        A command that switched from root to the site's owner is recorded as root's.
        """
        if self._owner is not None:
            return Caller("shell:root", admin=True)
        try:
            name = getpass.getuser()
        except (KeyError, OSError):
            name = str(os.getuid())
        return Caller(f"shell:{name}", admin=True)

    def _switch_to_owner(self) -> None:
        """Switch from root to the owner of the site. Raises CannotSwitchUser."""
        if os.geteuid() != 0:
            return
        paths = [Path(self.storage, "blobs"), Path(self.storage)]
        with suppress(ValueError):  # an invalid URL is refused when the command needs it
            url = parse_url(self.database)
            if url.get_backend_name() == "sqlite":
                database = Path(url.database or "")
                paths = [database, *paths, database.parent]
        owner = find_owner(paths)
        if owner is None or owner.uid == 0:
            return
        switch_user(owner)
        self._owner = owner
        self.print_note(f"The site belongs to {owner.name}: this runs as that user, not as root.")

    def existing_database_url(self) -> URL:
        """Return the database's URL. Raises CommandError when its SQLite file does not exist."""
        url = self._database_url()
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            raise CommandError(
                f"there is no database {url.database}: name the site's with --database, or run "
                "this where its ngshare_config.py is"
            )
        return url

    def print_undo_command(self, label: str, command: str, path: Path) -> None:
        """Print the command that undoes this one, for this site, to be pasted in any folder.

        ``path`` is the argument of that command. The options of the site are left out only where
        they are ngshare's defaults. A URL that holds secrets is replaced by ``...``, with a note.
        """
        words = [command, shlex.quote(str(path.absolute()))]
        url, note = self._database_url(), ""
        defaults = (DEFAULT_DATABASE, DEFAULT_STORAGE)
        if (self.database, self.storage) != defaults or os.environ.get(DATABASE_VARIABLE):
            if url.get_backend_name() == "sqlite":
                url = url.set(database=str(Path(url.database or "").absolute()))
            shown = show_url(url)
            is_complete = parse_url(shown) == url
            database = shlex.quote(shown) if is_complete else "..."
            storage = shlex.quote(str(Path(self.storage).absolute()))
            words += ["--database", database, "--storage", storage]
            if not is_complete:
                note = f"For ... write the URL of {shown}, with what is secret in it; or leave "
                note += f"--database out and set {DATABASE_VARIABLE}."
        self.print_line(f"{label} {' '.join(words)}")
        if note:
            self.print_line(note)

    @contextmanager
    def open_database(self) -> Iterator[Database]:
        """Open the database. Raises CommandError unless it is at this program's revision."""
        url = self.existing_database_url()
        revision, head = migrate.read_revision(url), migrate.head()
        if revision != head:
            older = ""
            if revision is not None and url.get_backend_name() == "sqlite":
                older = " (or, after ngshare db revert, use the older ngshare)"
            raise CommandError(
                f"the database {show_url(url)} is at revision {revision or 'none'}, this ngshare "
                f"needs {head}: run ngshare db upgrade, or start the service once{older}"
            )
        database = Database(url, connections=2)
        try:
            yield database
        finally:
            database.close()

    def open_storage(self) -> ManagedBlobStore:
        """Open the blob store. Raises CommandError when the folder is not a site's storage."""
        if not Path(self.storage, "blobs").is_dir():
            raise CommandError(
                f"{self.storage} is not the storage of a site: name it with --storage, or run "
                "this where its ngshare_config.py is"
            )
        owner = Path(self.storage).stat().st_uid
        if os.geteuid() != owner:
            self.print_note(f"You are not the owner of {self.storage}; some of this may fail.")
        # Opened without a write, because gc must work when the disk is full.
        return open_folder_store(self.storage, make=False)

    @contextmanager
    def show_progress(self, title: str) -> Iterator[StartProgress]:
        """Yield a function that shows a progress bar once it is told the number of steps."""
        with ExitStack() as stack:
            yield lambda total: stack.enter_context(ProgressBar(title, total)).advance

    def print_line(self, text: str = "") -> None:
        """Print a line of the command's result to standard output."""
        print(text, flush=True)

    def print_note(self, text: str) -> None:
        """Print a line that is not part of the result to standard error."""
        print(text, file=sys.stderr, flush=True)

    def confirm(self, question: str) -> None:
        """Ask for confirmation, unless --yes was given. Raises CommandError without it."""
        if self.yes:
            return
        if not sys.stdin.isatty():
            raise CommandError("nothing was done: this needs --yes where nobody can be asked")
        if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was done")
