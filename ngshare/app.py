"""The application: configuration, command line, the order of start-up, listening."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import logging
import os
import secrets
import socket
import sys
from collections.abc import Generator, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import URL
from traitlets import Bool, Float, Integer, TraitError, Unicode, default, validate
from traitlets.config import Application, Config, Configurable
from traitlets.utils.importstring import import_item

from ngshare import __version__
from ngshare.blobs import LocalBlobs
from ngshare.db import migrate
from ngshare.db.service_lock import shared_service_lock
from ngshare.db.transactions import Database
from ngshare.errors import StartError
from ngshare.protocol import names
from ngshare.runtime import checks, help, logs, worker_metrics
from ngshare.runtime.banner import Start
from ngshare.runtime.checks import check_prefix
from ngshare.runtime.commandline import (
    Names,
    check_setting_names,
    invalid_setting,
    nearest,
    normalize_arguments,
    refuse,
)
from ngshare.runtime.launcher import terminate_when_orphaned
from ngshare.runtime.logs import PlainFormatter
from ngshare.runtime.serving import serve, stop_event
from ngshare.runtime.workers import once, supervise
from ngshare.web.application import make_application
from ngshare.web.auth.hub_client import SharedHubAuth, missing_overridden
from ngshare.web.auth.identity import HubIdentity, Identity
from ngshare.web.auth.login import derive_secret
from ngshare.web.auth.standalone import OwnNames, StandaloneIdentity
from ngshare.web.proxy import is_network
from ngshare.web.server import KnownAnyway, NothingSent
from ngshare.web.service import Service

TAKE_OVER_SECONDS = 10
"""How long the port is waited for that an ngshare of a killed Hub gives up about now."""

DEFAULT_DATABASE = "sqlite:////srv/ngshare/ngshare.db"

DEFAULT_STORAGE = "/srv/ngshare/files/"

DATABASE_VARIABLE = "NGSHARE_DATABASE"
"""The environment variable that names the database where nothing else does."""

_PRINTS = {"-h", "--help", "--help-all", "-V", "--version"}
"""Arguments beside which traitlets looks at no other."""


class SiteApplication(Application):
    """What the service and the commands share: where the site is, configuration, logging.

    Where the site is stands in the section ``Ngshare`` of a configuration file, for commands too.
    """

    version = Unicode(__version__)
    database = Unicode(
        DEFAULT_DATABASE,
        help="The database, as a SQLAlchemy URL; $NGSHARE_DATABASE when not given",
    ).tag(config=True)
    storage = Unicode(DEFAULT_STORAGE, help="The folder that holds the files").tag(config=True)
    adopt_without_files = Bool(
        False,
        help="Adopt a site of ngshare 0.6 although its files are lost",
    ).tag(config=True)
    keep_removed_days = Integer(
        30, min=0, help="For how many days what was removed stays in the trash, at least"
    ).tag(config=True)
    json_logs = Bool(False, help="Write the log as JSON, one object for each line").tag(config=True)
    config_file = Unicode("ngshare_config.py", help="The configuration file, if there is one").tag(
        config=True
    )

    log_datefmt = Unicode("%Y-%m-%d %H:%M:%S").tag(config=True)
    log_format = Unicode(
        "%(color)s[%(levelname)1.1s %(asctime)s.%(msecs).03d %(name)s]%(end_color)s %(message)s"
    ).tag(config=True)
    _log_formatter_cls = PlainFormatter  # type: ignore[assignment]  # as JupyterHub does

    @default("description")
    def _default_description(self) -> str:
        return inspect.getdoc(type(self)) or ""

    @default("log_level")
    def _default_log_level(self) -> int:
        return logging.INFO

    @default("database")
    def _default_database(self) -> str:
        # A password on a command line is shown to every user of the machine.
        return os.environ.get(DATABASE_VARIABLE) or DEFAULT_DATABASE

    @validate("storage")
    def _check_storage(self, proposal: dict[str, Any]) -> str:
        storage: str = proposal["value"]
        if not storage.strip():
            raise StartError("--storage is empty; name the folder of the files")
        return storage

    def initialize(self, argv: Sequence[str] | None = None) -> None:
        """Read the command line and the configuration file. Raises StartError."""
        self.parse_command_line(argv)
        if self.subapp is not None:
            return  # it reads the settings itself
        self.accept_positionals(self.extra_args)
        command_line = deepcopy(self.cli_config)
        if self.reads_config_file():
            self._read_config_file(self.config_file)
            self.update_config(command_line)

    def parse_command_line(self, argv: Sequence[str] | None = None) -> None:
        """Read the command line. Raises StartError."""
        given = list(sys.argv[1:] if argv is None else argv)
        is_command = bool(given) and given[0] in (*self.subcommands, "help")
        if not is_command and _PRINTS.isdisjoint(given):
            given = normalize_arguments(given, self.aliases, self.flags)
        super().parse_command_line(given)

    def accept_positionals(self, words: Sequence[str]) -> None:
        """Take what stands on the command line without a dash. Raises StartError."""
        raise NotImplementedError

    def reads_config_file(self) -> bool:
        """Return whether there may be a configuration file to read."""
        return bool(self.config_file)

    def update_config(self, config: Config) -> None:
        """Take new settings. Raises StartError.

        traitlets would log a wrong one and end, in debug mode with every other
        setting beside it, among them the database's password.
        """
        check_setting_names(config, [type(self), Ngshare, SharedHubAuth], _every_application)
        try:
            super().update_config(config)
        except TraitError as error:
            raise invalid_setting(error) from error

    def _read_config_file(self, path: str) -> None:
        if not os.path.exists(path):
            if path == "ngshare_config.py":
                return
            raise StartError(f"there is no configuration file {path}")
        if os.path.splitext(path)[1] not in (".py", ".json"):
            raise StartError(f"the configuration file {path} must be named *.py or *.json")
        # Without its settings the service would run as something else than was wanted.
        self.raise_config_file_errors = True
        try:
            self.load_config_file(os.path.abspath(path))
        except StartError as error:
            raise StartError(f"{path}: {error}") from error
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise StartError(f"the configuration file {path} does not work: {reason}") from error

    def _set_up_logging(self, level: int | None = None) -> None:
        logs.configure_logging(self.log, self.log.level if level is None else level, self.json_logs)

    def _database_url(self) -> URL:
        given = "--database"
        if "database" not in self.config.Ngshare and os.environ.get(DATABASE_VARIABLE):
            given = f"${DATABASE_VARIABLE}"
        return checks.database_url(self.database, given)

    def help_text(self, usage: Sequence[str], others: Sequence[help.Setting] = ()) -> Iterator[str]:
        """Yield the lines of the help; ``others`` are settings that have no option."""
        return help.text(self, usage, others)

    def upgrade(self, url: URL, *, with_storage: bool) -> tuple[str | None, str]:
        """Upgrade the database; return its revisions before and after. Raises StartError.

        with_storage: open the storage too, which the adoption of a 0.6 site needs.
        """
        storage = checks.open_storage(self.storage).folder if with_storage else None
        checks.check_database(url)
        return migrate.upgrade(url, storage, files_may_be_lost=self.adopt_without_files)


class Ngshare(SiteApplication):
    """The exchange that lets nbgrader run on any JupyterHub.

    As a service of a JupyterHub it takes from the Hub's environment where to
    listen and whom to ask who its users are. With --vngshare it runs alone, for
    trying out, and believes everybody.
    """

    name = Unicode("ngshare")
    subcommand_description = Unicode(
        "Commands: safe while the service runs, but for db revert, which refuses then, and "
        "db upgrade beside an older ngshare; each has a help of its own"
    )
    subcommands = {
        "db": ("ngshare.commands.db.Db", "Look at the database, upgrade, back up, restore"),
        "storage": ("ngshare.commands.storage.Storage", "Check the files, free room"),
        "log": ("ngshare.commands.log.Log", "Show who did what, and who has not handed in"),
        "members": ("ngshare.commands.members.Members", "List members, and who never came"),
        "export": ("ngshare.commands.export.Export", "Pack everything of a course in one file"),
        "trash": ("ngshare.commands.trash.Trash", "List, restore, purge what was removed"),
    }
    examples = """
    ngshare --admins ada                       # launched by a Hub, with its environment
    vngshare --debug --admins ada \\
        --database sqlite:////tmp/x/ngshare.db --storage /tmp/x/files
    """

    admins = Names(
        Unicode(), help="Users who may create courses and do all that instructors may"
    ).tag(config=True)
    debug = Bool(
        False,
        help="Log more, say why a permission is denied, and let everybody read all records. "
        "Stand-alone, everybody can delete them all too; with a Hub, admins can",
    ).tag(config=True)
    upgrade_database = Bool(
        True, help="Bring the database to this program's schema before the service starts"
    ).tag(config=True)
    standalone = Bool(
        False, help="Run without a Hub and believe the parameter 'user' of each request"
    ).tag(config=True)
    host = Unicode("127.0.0.1", help="Where to listen, stand-alone only").tag(config=True)
    host_names = Names(
        Unicode(),
        help="Further names in the addresses by which it is called, stand-alone only",
    ).tag(config=True)
    port = Integer(12121, min=0, max=65535, help="The port, stand-alone only; 0: any").tag(
        config=True
    )
    prefix = Unicode(
        help="What every path begins with; default: $JUPYTERHUB_SERVICE_PREFIX, else /api/"
    ).tag(config=True)
    hub_api_url = Unicode(help="The Hub's API as seen from here; default: $JUPYTERHUB_API_URL").tag(
        config=True
    )
    threads = Integer(1, min=1, help="Database workers of one process").tag(config=True)
    workers = Integer(1, min=1, help="Processes that share the port").tag(config=True)
    end_with_hub = Bool(
        False, help="End when the process that launched this one is gone, as a Hub that was killed"
    ).tag(config=True)
    max_request_mib = Integer(512, min=1, help="The largest request that is accepted, in MiB").tag(
        config=True
    )
    max_spool_mib = Integer(
        4096,
        min=1,
        help="How much disk requests that arrive may take at once, in MiB, in each process",
    ).tag(config=True)
    max_uploads_per_user = Integer(
        4, min=1, help="How many requests above 1 MiB of one user are received at once"
    ).tag(config=True)
    idle_seconds = Float(
        60.0, min=1.0, help="After how many seconds a transfer that stands still is cut off"
    ).tag(config=True)
    least_speed = Integer(
        1000,
        min=0,
        help="Cut off transfers below so many bytes a second, on average after a minute",
    ).tag(config=True)
    max_files = Integer(10_000, min=1, help="The most files of one request").tag(config=True)
    max_course_mib = Integer(
        0, min=0, help="The most that a course may keep, in MiB, removed work too; 0: no limit"
    ).tag(config=True)
    max_requests_per_minute = Integer(
        0, min=0, help="The most requests a minute of one user to one process; 0: no limit"
    ).tag(config=True)
    authenticate_prometheus = Bool(
        True, help="Show the metrics to admins and tokens with the scope read:metrics only"
    ).tag(config=True)
    readiness_patience = Float(
        2.0, min=0.1, help="For how many seconds readiness waits for database and storage"
    ).tag(config=True)
    trusted_proxies = Names(
        Unicode(),
        help="Addresses or networks of the proxies in front of the Hub's, which the log looks past",
    ).tag(config=True)
    generate_config = Bool(False, help="Write a commented configuration file, and end").tag(
        config=True
    )

    aliases = {
        "database": "Ngshare.database",
        "storage": "Ngshare.storage",
        "admins": "Ngshare.admins",
        "jupyterhub_api_url": "Ngshare.hub_api_url",
        "prefix": "Ngshare.prefix",
        "host": "Ngshare.host",
        "port": "Ngshare.port",
        "threads": "Ngshare.threads",
        "workers": "Ngshare.workers",
        "config": "Ngshare.config_file",
        "f": "Ngshare.config_file",
        "log-level": "Application.log_level",
    }
    flags = {
        "debug": ({"Ngshare": {"debug": True}}, "Log more, and let everybody read all records"),
        "no-upgrade-db": (
            {"Ngshare": {"upgrade_database": False}},
            "Leave the database's schema as it is; refuse to start when it is behind",
        ),
        "end-with-hub": (
            {"Ngshare": {"end_with_hub": True}},
            "End when the Hub that launched it is gone; configure_hub gives this",
        ),
        "adopt-without-files": (
            {"Ngshare": {"adopt_without_files": True}},
            "Adopt a site of ngshare 0.6 although its files are lost",
        ),
        "log-json": ({"Ngshare": {"json_logs": True}}, "Write the log as JSON lines"),
        "vngshare": ({"Ngshare": {"standalone": True}}, "Run without a Hub, believing everybody"),
        "generate-config": (
            {"Ngshare": {"generate_config": True}},
            "Write a commented ngshare_config.py here, and end",
        ),
    }
    classes = [SharedHubAuth]

    _advice: Sequence[str] = ()
    """What an administrator should change about the database's server."""

    @default("prefix")
    def _default_prefix(self) -> str:
        return os.environ.get("JUPYTERHUB_SERVICE_PREFIX") or "/api/"

    @validate("prefix")
    def _check_prefix(self, proposal: dict[str, Any]) -> str:
        prefix: str = proposal["value"]
        check_prefix(prefix)
        return prefix

    @validate("admins")
    def _check_admins(self, proposal: dict[str, Any]) -> list[str]:
        admins: list[str] = proposal["value"]
        for name in admins:
            if not names.is_name(name):
                raise StartError(
                    f"--admins names {name!r}, which no user can have: a name has 1 to "
                    f"{names.NAME_LENGTH} characters, no slash and no control character; "
                    "write commas between names"
                )
        return admins

    @validate("trusted_proxies")
    def _check_trusted_proxies(self, proposal: dict[str, Any]) -> list[str]:
        proxies: list[str] = proposal["value"]
        for proxy in proxies:
            if not is_network(proxy):
                raise StartError(
                    f"Ngshare.trusted_proxies names {proxy!r}, which is neither an address nor a "
                    "network; write them as 10.0.0.7 or 10.0.0.0/8"
                )
        return proxies

    @default("hub_api_url")
    def _default_hub_api_url(self) -> str:
        return os.environ.get("JUPYTERHUB_API_URL", "")

    def emit_help(self, classes: bool = False) -> Generator[str, None, None]:
        """Its help; with ``classes`` every setting."""
        usage = (
            "ngshare [OPTIONS]          start the service",
            "vngshare [OPTIONS]         start it without a Hub, for trying out",
            "ngshare COMMAND [OPTIONS]  one of the commands for administrators",
        )
        optional = {
            *self.aliases.values(),
            *(next(iter(each[0]["Ngshare"])) for each in self.flags.values()),
        }
        others = [
            (section, name, trait)
            for section, name, trait in (*self._settings(), *self._settings_of_client())
            if not {name, f"{section}.{name}"} & optional
        ]
        yield from self.help_text(usage, others if classes else ())
        yield ""
        yield "Each can stand in ngshare_config.py too; `ngshare --generate-config` writes one."

    def generate_config_file(self, classes: Any = None) -> str:
        """The text of a configuration file with every setting as a comment."""
        return help.configuration_file([*self._settings(), *self._settings_of_client()])

    @staticmethod
    def _settings() -> Iterator[help.Setting]:
        for each in help.settings(Ngshare, also=SiteApplication.class_own_traits(config=True)):
            if each[1] not in ("config_file", "generate_config", "log_format", "log_datefmt"):
                yield each

    @staticmethod
    def _settings_of_client() -> Iterator[help.Setting]:
        return help.settings(SharedHubAuth, also=["cache_max_age"])

    def accept_positionals(self, words: Sequence[str]) -> None:
        """Refuse what stands on the command line without a dash; commands take some."""
        if words:
            if words[0] in self.subcommands:
                refuse(f"{words[0]} is a command: it comes first", f"ngshare {words[0]} ...")
            refuse(f"{words[0]!r} is not understood", *nearest(words[0], self.subcommands))

    def reads_config_file(self) -> bool:
        return super().reads_config_file() and not self.generate_config

    def start(self) -> None:
        """Run the command that was named, or serve until SIGTERM. Raises StartError."""
        if self.subapp is not None:
            self.subapp.start()
            return
        if self.generate_config:
            self._write_config()
            return
        launcher = os.getppid()
        self._set_up_logging(logging.DEBUG if self.debug else None)
        logging.getLogger("tornado.general").addFilter(NothingSent())
        logging.getLogger("tornado.application").addFilter(KnownAnyway())
        check_prefix(self.prefix)
        url = self._database_url()
        if not self.standalone:
            checks.check_hub(self.hub_api_url)
        identity = self._make_identity()
        if url.get_backend_name() == "sqlite":
            checks.check_writable(url.database or "")
        with shared_service_lock(url):
            self._run(url, identity, launcher)

    def _run(self, url: URL, identity: Identity, launcher: int) -> None:
        """Upgrade, listen, and serve until SIGTERM. ``launcher`` is the process that began this."""
        blobs = checks.open_storage(self.storage)
        before, revision = self._migrate(url, blobs)
        with terminate_when_orphaned(launcher) if self.end_with_hub else contextlib.nullcontext():
            sockets = self._listen()
            self._announce(url, sockets, before, revision)

            asks_hub = once()

            def run(alive: int | None = None) -> None:
                asyncio.run(self._serve(url, identity, sockets, alive, asks_hub()))

            if self.workers == 1:
                run()
            else:
                with worker_metrics.shared():
                    supervise(self.workers, run, sockets, worker_metrics.forget_worker)
        orphan = self.end_with_hub and os.getppid() != launcher
        self.log.info("Stopped%s", ": what launched it is gone" if orphan else "")

    async def _serve(
        self,
        url: URL,
        identity: Identity,
        sockets: list[socket.socket],
        alive: int | None,
        asks_hub: bool,
    ) -> None:
        """Serve until told to stop. ``alive`` becomes readable when the parent is gone.

        ``asks_hub``: whether this process looks whether the Hub answers and knows us.
        """
        stop = stop_event(alive)  # before all else, so that no signal is too early
        service = Service(
            database=Database(url, connections=self.threads, time_limits=True),
            blobs=LocalBlobs(self.storage),
            identity=identity,
            admins=self.admins,
            debug=self.debug,
            threads=self.threads,
            max_body=self.max_request_mib * 2**20,
            spool_folder=Path(self.storage, "incoming"),
            max_spool=self.max_spool_mib * 2**20,
            uploads_per_user=self.max_uploads_per_user,
            idle_seconds=self.idle_seconds,
            least_speed=self.least_speed,
            max_files=self.max_files,
            max_course_bytes=self.max_course_mib * 2**20 or None,
            requests_per_minute=self.max_requests_per_minute,
            open_metrics=not self.authenticate_prometheus,
            readiness_patience=self.readiness_patience,
            trusted_proxies=self.trusted_proxies,
        )
        application = make_application(
            service, self.prefix, hub=not self.standalone, cookie_secret=self._cookie_secret()
        )
        meanwhile = [identity.check_hub_connection] if asks_hub else []
        # Modules, classes and functions stay for ever: a collection that looks through all of
        # them stops everything for tens of milliseconds.
        gc.collect()
        gc.freeze()
        await serve(service, application, sockets, stop, meanwhile=meanwhile)

    def _migrate(self, url: URL, blobs: LocalBlobs | None = None) -> tuple[str | None, str]:
        """The revisions before and after."""
        self._advice = checks.check_database(url)
        if self.upgrade_database:
            storage = None if blobs is None else blobs.folder
            return migrate.upgrade(url, storage, files_may_be_lost=self.adopt_without_files)
        revision = migrate.require_head(url)
        return revision, revision

    def _listen(self) -> list[socket.socket]:
        host, port = (self.host, self.port) if self.standalone else checks.hub_address()
        service_url = "configure_hub(c, url=...)" if self.end_with_hub else "JUPYTERHUB_SERVICE_URL"
        settings = ("--host", "--port") if self.standalone else (service_url, service_url)
        patience = TAKE_OVER_SECONDS if self.end_with_hub else 0
        return checks.bind(host, port, settings=settings, patience=patience)

    def _make_identity(self) -> Identity:
        if self.standalone:
            return StandaloneIdentity(OwnNames(self.host, self.host_names))
        if missing := missing_overridden():
            raise StartError(
                f"this version of JupyterHub's client has no {' and no '.join(missing)}, on which "
                "ngshare's authentication depends: install a version that ngshare was tested with "
                "(docs/install-hub.md names them)"
            )
        try:
            hub_auth = SharedHubAuth(parent=self, base_url=self.prefix, api_url=self.hub_api_url)
        except TraitError as error:
            raise invalid_setting(error) from error
        return HubIdentity(hub_auth, os.environ["JUPYTERHUB_SERVICE_NAME"])

    def _cookie_secret(self) -> bytes:
        """The key of cookies: the same in all workers, and after a restart with the same token."""
        if self.standalone:
            return secrets.token_bytes(32)
        return derive_secret(os.environ["JUPYTERHUB_API_TOKEN"], "cookies")

    def _announce(
        self, url: URL, sockets: list[socket.socket], before: str | None, revision: str
    ) -> None:
        host, port = sockets[0].getsockname()[:2]
        start = Start(
            host=host,
            port=port,
            prefix=self.prefix,
            database=url,
            before=before,
            revision=revision,
            storage=self.storage,
            admins=self.admins,
            hub_api_url=None if self.standalone else self.hub_api_url,
            debug=self.debug,
            threads=self.threads,
            workers=self.workers,
        )
        for line in start.facts():
            self.log.info(line)
        for line in (*self._advice, *start.warnings()):
            self.log.warning(line)

    def _write_config(self) -> None:
        if os.path.exists(self.config_file):
            raise StartError(f"{self.config_file} exists already; move it away first")
        try:
            with open(self.config_file, "x", encoding="utf8") as file:
                file.write(self.generate_config_file())
        except OSError as error:
            raise StartError(
                f"{self.config_file} cannot be written ({error.strerror}): name another file "
                "with --config"
            ) from error
        print(f"Wrote {self.config_file}")


def _every_application() -> Sequence[type[Configurable]]:
    """The service and every command: one configuration file may have settings of all."""
    found: list[Any] = [Ngshare]
    for each in found:
        found += [import_item(where) for where, _ in each.subcommands.values()]
    return [*found, SharedHubAuth]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The command ``ngshare``: exit code 1 and one line when it cannot start."""
    # Submissions are nobody's business: other users of this machine cannot read what is written.
    before = os.umask(0o077)
    app = Ngshare()
    try:
        app.initialize(argv)
        app.start()
    except StartError as error:
        print(f"ngshare: {checks.redact_passwords(str(error))}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:  # before it listens; afterwards it is told apart
        print("ngshare: interrupted; it can be started again", file=sys.stderr)
        sys.exit(1)
    finally:
        os.umask(before)
    sys.exit(0)


def main_standalone() -> NoReturn:
    """The command ``vngshare``: the service without a Hub."""
    main(["--vngshare", *sys.argv[1:]])
