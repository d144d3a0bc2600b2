"""What all commands share: the settings of the service, questions, plain errors, exit codes."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from sqlalchemy import URL
from traitlets import Bool, Unicode
from traitlets.config import Config

from ngshare.actions.access import Caller
from ngshare.admin.backup import BackupError
from ngshare.admin.storage import Unreadable
from ngshare.app import (
    DATABASE_VARIABLE,
    DEFAULT_DATABASE,
    DEFAULT_STORAGE,
    Ngshare,
    SiteApplication,
)
from ngshare.blobs import ManagedBlobStore, open_folder_store
from ngshare.commands.owner import CannotBecome, Owner, become, owner_of
from ngshare.db import migrate
from ngshare.db.migrate import MigrationError
from ngshare.db.progress import Progress
from ngshare.db.service_lock import InUse
from ngshare.db.snapshots import DamagedCopy, NoRoom
from ngshare.db.transactions import Database
from ngshare.db.urls import parse_url, show_url
from ngshare.errors import ExchangeError, StartError

DONE = 0
FAILED = 1
DAMAGE = 2
"""Exit code of a command that ran to its end and found damage."""

SETTINGS = {
    name: Ngshare.aliases[name] for name in ("database", "storage", "config", "f", "log-level")
}
"""The options that every command takes: where the site is."""

YES = {"yes": ({"Command": {"yes": True}}, "Do it without asking")}
"""The flag of commands that ask before they act."""


class CommandError(StartError):
    """A command cannot do what it was told. The message is one line that says what to do."""


class Command(SiteApplication):
    """A command of an administrator, for the site that the service is configured to serve."""

    subcommands = {}
    subcommand_description = Unicode("Commands")
    aliases = SETTINGS
    flags = {}
    examples = Unicode()

    words: Sequence[str] = ()
    """What stands on its command line without a dash."""

    takes: ClassVar[tuple[int, int]] = (0, 0)
    """How many of them it wants, at least and at most."""

    usage: ClassVar[str] = ""
    """What its help calls them, as in ``DIR``."""

    _owner: Owner | None = None
    """Whom root became."""

    yes = Bool(False, help="Do it without asking").tag(config=True)

    def initialize(self, argv: Sequence[str] | None = None) -> None:
        try:
            super().initialize(argv)
        except StartError as error:
            # Of the service's many options none is meant.
            text = str(error).replace("see ngshare --help-all", f"see {self.name} --help")
            raise CommandError(text) from error

    def start(self) -> None:
        """Run it, and end the process with its exit code. Raises CommandError."""
        if self.subapp is not None:
            self.subapp.start()
            return
        self._set_up_logging()
        self._become_owner()
        try:
            code = self.run()
        except BrokenPipeError:  # nobody reads on: `ngshare log | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = DONE
        except KeyboardInterrupt:
            raise CommandError("interrupted; it can be started again") from None
        except ExchangeError as error:
            if isinstance(error.__cause__, OSError):  # of the storage: a client is told less
                raise self._failure(error.__cause__) from error
            raise CommandError(error.message) from error
        except (MigrationError, InUse, BackupError, NoRoom, DamagedCopy, Unreadable) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise self._failure(error) from error
        self.exit(code)

    def _failure(self, error: OSError) -> CommandError:
        where = f"{error.filename}: " if error.filename else ""
        who = ""
        if isinstance(error, PermissionError) and self._owner is not None:
            who = f"; this runs as {self._owner.name}, so name a place that is that user's"
        return CommandError(f"{where}{error.strerror or error}{who}")

    def run(self) -> int:
        """Do the work; return the exit code. A group of commands only says what they are."""
        commands = ", ".join(self.subcommands)
        raise CommandError(f"say what to do: {commands}; see {self.name} --help")

    def emit_help(self, classes: bool = False) -> Generator[str, None, None]:
        """Its help, in plain words; traitlets' own speaks of classes and traits."""
        usage = " ".join(word for word in (self.name, self.usage, "[OPTIONS]") if word)
        yield from self.help_text([usage])

    def take_words(self, words: Sequence[str]) -> None:
        least, most = self.takes
        if len(words) > most:
            raise CommandError(f"{words[most]!r} is not understood; see {self.name} --help")
        if len(words) < least:
            raise CommandError(f"it wants {self.usage}; see {self.name} --help")
        self.words = list(words)

    def update_config(self, config: Config) -> None:
        """Take new settings; those of the site from the section of the service."""
        service = config.get("Ngshare", {})
        shared = SiteApplication.class_trait_names(config=True)
        site = {name: service[name] for name in shared if name in service}
        super().update_config(Config({**config, "SiteApplication": site} if site else config))

    # What commands work with

    @property
    def caller(self) -> Caller:
        """Whom the audit log names: the user of this machine, who is no user of the Hub.

        Whoever was root when this began is root there.
        """
        if self._owner is not None:
            return Caller("shell:root", admin=True)
        try:
            name = getpass.getuser()
        except (KeyError, OSError):
            name = str(os.getuid())
        return Caller(f"shell:{name}", admin=True)

    def _become_owner(self) -> None:
        """Become the owner of the site, where root does this for another user's site."""
        if os.geteuid() != 0:
            return
        places = [Path(self.storage, "blobs"), Path(self.storage)]
        with suppress(ValueError):  # a wrong URL is refused when the command needs it
            url = parse_url(self.database)
            if url.get_backend_name() == "sqlite":
                database = Path(url.database or "")
                places = [database, *places, database.parent]
        owner = owner_of(places)
        if owner is None or owner.uid == 0:
            return
        try:
            become(owner)
        except CannotBecome as error:
            raise CommandError(str(error)) from error
        self._owner = owner
        self.note(f"The site belongs to {owner.name}: this runs as that user, not as root.")

    def url(self) -> URL:
        """The database's URL. Raises CommandError when a SQLite file is not there: none is made."""
        url = self._database_url()
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            raise CommandError(
                f"there is no database {url.database}: name the site's with --database, or run "
                "this where its ngshare_config.py is"
            )
        return url

    def tell_way_back(self, lead: str, command: str, path: Path) -> None:
        """Say by which command this is undone, so that it acts on this site wherever it is pasted.

        ``path`` is what the command takes. The options of the site are left out only where they
        are what ngshare takes by itself. A database's secrets are never shown.
        """
        words = [command, shlex.quote(str(path.absolute()))]
        url, note = self._database_url(), ""
        usual = (DEFAULT_DATABASE, DEFAULT_STORAGE)
        if (self.database, self.storage) != usual or os.environ.get(DATABASE_VARIABLE):
            if url.get_backend_name() == "sqlite":
                url = url.set(database=str(Path(url.database or "").absolute()))
            shown = show_url(url)
            whole = parse_url(shown) == url
            storage = shlex.quote(str(Path(self.storage).absolute()))
            words += ["--database", shlex.quote(shown) if whole else "...", "--storage", storage]
            if not whole:
                note = f"For ... write the URL of {shown}, with what is secret in it; or leave "
                note += f"--database out and set {DATABASE_VARIABLE}."
        self.say(f"{lead} {' '.join(words)}")
        if note:
            self.say(note)

    @contextmanager
    def open_database(self) -> Iterator[Database]:
        """The database, which must be of this program's revision."""
        url = self.url()
        found, head = migrate.revision_of(url), migrate.head()
        if found != head:
            older = ""
            if found is not None and url.get_backend_name() == "sqlite":
                older = " (or, after ngshare db revert, use the older ngshare)"
            raise CommandError(
                f"the database {show_url(url)} is at revision {found or 'none'}, this ngshare "
                f"needs {head}: run ngshare db upgrade, or start the service once{older}"
            )
        database = Database(url, connections=2)
        try:
            yield database
        finally:
            database.close()

    def open_storage(self) -> ManagedBlobStore:
        """The folder of the files. Raises CommandError when it is none: none is made."""
        if not Path(self.storage, "blobs").is_dir():
            raise CommandError(
                f"{self.storage} is not the storage of a site: name it with --storage, or run "
                "this where its ngshare_config.py is"
            )
        owner = Path(self.storage).stat().st_uid
        if os.geteuid() != owner:
            self.note(f"You are not the owner of {self.storage}; some of this may fail.")
        # Nothing is made, nor tried to be written: gc is what is needed when the disk is full.
        return open_folder_store(self.storage, make=False)

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int], Callable[[int], None]]]:
        """Shows how far something is, once it says how many steps there are."""
        with ExitStack() as stack:
            yield lambda total: stack.enter_context(Progress(what, total)).advance

    def say(self, text: str = "") -> None:
        """Print a line for whoever runs the command."""
        print(text, flush=True)

    def note(self, text: str) -> None:
        """Print a line beside what the command is asked for, on standard error."""
        print(text, file=sys.stderr, flush=True)

    def confirm(self, question: str) -> None:
        """Go on only with --yes, or when somebody at a terminal says so. Raises CommandError."""
        if self.yes:
            return
        if not sys.stdin.isatty():
            raise CommandError("nothing was done: this needs --yes where nobody can be asked")
        if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was done")


def count(number: int, one: str, many: str | None = None) -> str:
    """A number of things, in words: ``1 file``, ``2,000 files``.

    A verb that follows belongs to both: ``count(number, "file is", "files are")``. Is there
    something between them, :func:`agree` chooses the verb.
    """
    return f"{number:,} {agree(number, one, many or one + 's')}"


def agree(number: int, one: str, many: str) -> str:
    """What is said of one thing, or of any other number of them: ``is`` or ``are``."""
    return one if number == 1 else many


def size(number: int) -> str:
    """A number of bytes as people read it: ``12.3 MB``."""
    amount = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{number} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
