"""The application ``ngshare``: its settings, its command line, and the order of its start.

The file is long because of the settings with their help texts; what a start does in detail is
in ``runtime/``.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from ngshare.exchange.commands import SUMMARIES as USER_COMMANDS
from ngshare.runtime import checks, help_text, hub_service, logs
from ngshare.runtime.banner import Banner
from ngshare.runtime.commandline import (
    NameList,
    check_setting_names,
    close_match,
    invalid_setting,
    normalize_arguments,
    reject,
)
from ngshare.runtime.config_file import DEFAULT_CONFIG_FILE, load_config_file, write_config_file
from ngshare.runtime.help_text import Setting
from ngshare.runtime.launcher import terminate_when_orphaned
from ngshare.runtime.logs import PlainFormatter
from ngshare.runtime.serving import serve, stop_event
from ngshare.runtime.worker_metrics import forget_worker, share_metrics
from ngshare.runtime.workers import once_across_forks, supervise
from ngshare.web.application import make_application
from ngshare.web.auth.hub_client import SharedHubAuth
from ngshare.web.auth.identity import Identity
from ngshare.web.auth.standalone import OwnNames, StandaloneIdentity
from ngshare.web.server import DropXsrfWarnings, HideMalformedRequests
from ngshare.web.service import Service

TAKE_OVER_SECONDS = 10
"""Timeout of waiting for a port that the service of a killed Hub is about to release."""

DEFAULT_DATABASE = "sqlite:////srv/ngshare/ngshare.db"

DEFAULT_STORAGE = "/srv/ngshare/files/"

DATABASE_VARIABLE = "NGSHARE_DATABASE"
"""The environment variable with the database's URL, used when no setting gives one."""

_PRINT_AND_EXIT = {"-h", "--help", "--help-all", "-V", "--version"}
"""Options beside which traitlets ignores all others."""

_NOT_IN_HELP = ("config_file", "generate_config", "log_format", "log_datefmt")


class SiteApplication(Application):
    """Base class of the service and the commands: the site's location, configuration, logging.

    The location is configured in the section ``Ngshare``, for commands too.
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
    config_file = Unicode(DEFAULT_CONFIG_FILE, help="The configuration file, if there is one").tag(
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
        # Every user of the machine can see the command line, and a password in it.
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
            return  # it has read both itself
        self.accept_positionals(self.extra_args)
        command_line = deepcopy(self.cli_config)
        if self.reads_config_file():
            load_config_file(self, self.config_file)
            self.update_config(command_line)

    def parse_command_line(self, argv: Sequence[str] | None = None) -> None:
        """Read the command line. Raises StartError."""
        arguments = list(sys.argv[1:] if argv is None else argv)
        is_command = bool(arguments) and arguments[0] in (*self.subcommands, "help")
        if not is_command and _PRINT_AND_EXIT.isdisjoint(arguments):
            arguments = normalize_arguments(arguments, self.aliases, self.flags)
        super().parse_command_line(arguments)

    def accept_positionals(self, arguments: Sequence[str]) -> None:
        """Accept the positional arguments of the command line. Raises StartError."""
        raise NotImplementedError

    def reads_config_file(self) -> bool:
        """Return whether to read a configuration file."""
        return bool(self.config_file)

    def update_config(self, config: Config) -> None:
        """Apply settings. Raises StartError for one that is unknown or has an invalid value.

        For an invalid value, traitlets would log an error and exit, in debug mode with all
        settings in the log, among them the database's password.
        """
        check_setting_names(config, [type(self), Ngshare, SharedHubAuth], _all_configurables)
        try:
            super().update_config(config)
        except TraitError as error:
            raise invalid_setting(error) from error

    def _set_up_logging(self, level: int | None = None) -> None:
        logs.configure_logging(self.log, self.log.level if level is None else level, self.json_logs)

    def _database_url(self) -> URL:
        source = "--database"
        if "database" not in self.config.Ngshare and os.environ.get(DATABASE_VARIABLE):
            source = f"${DATABASE_VARIABLE}"
        return checks.parse_database_url(self.database, source)

    def help_lines(self, usage: Sequence[str], settings: Sequence[Setting] = ()) -> Iterator[str]:
        """Yield the lines of the help, which begins with ``usage`` and lists ``settings`` too."""
        return help_text.help_lines(self, usage, settings)

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

    admins = NameList(
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
    host_names = NameList(
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
    max_tree_mib = Integer(
        2048,
        min=1,
        help="""The most MiB of the files of one tree. Of trees that come with a manifest, only the
        files that the service lacks are sent, so a tree may be larger than a request.""",
    ).tag(config=True)
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
    trusted_proxies = NameList(
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

    @default("prefix")
    def _default_prefix(self) -> str:
        return os.environ.get("JUPYTERHUB_SERVICE_PREFIX") or "/api/"

    @validate("prefix")
    def _check_prefix(self, proposal: dict[str, Any]) -> str:
        prefix: str = proposal["value"]
        checks.check_prefix(prefix)
        return prefix

    @validate("admins")
    def _check_admins(self, proposal: dict[str, Any]) -> list[str]:
        admins: list[str] = proposal["value"]
        checks.check_admins(admins)
        return admins

    @validate("trusted_proxies")
    def _check_trusted_proxies(self, proposal: dict[str, Any]) -> list[str]:
        proxies: list[str] = proposal["value"]
        checks.check_trusted_proxies(proxies)
        return proxies

    @default("hub_api_url")
    def _default_hub_api_url(self) -> str:
        return os.environ.get("JUPYTERHUB_API_URL", "")

    def emit_help(self, classes: bool = False) -> Generator[str, None, None]:
        """Yield the lines of the help; with ``classes``, of ``--help-all``."""
        usage = (
            "ngshare [OPTIONS]          start the service",
            "vngshare [OPTIONS]         start it without a Hub, for trying out",
            "ngshare COMMAND [OPTIONS]  one of the commands below",
        )
        settings = help_text.settings_without_option(self, _service_settings()) if classes else []
        yield from self.help_lines(usage, settings)
        yield ""
        yield "Commands for users' servers (pip install 'ngshare[exchange]'); each has a help"
        for name, summary in USER_COMMANDS.items():
            yield from help_text.two_columns(name, summary)
        yield ""
        yield "Each setting can stand in ngshare_config.py; `ngshare --generate-config` writes one."

    def generate_config_file(self, classes: Any = None) -> str:
        """Return the text of a configuration file with every setting as a comment."""
        return help_text.configuration_file(_service_settings())

    def accept_positionals(self, arguments: Sequence[str]) -> None:
        """Raise StartError when there are any: the service takes none."""
        if arguments:
            word = arguments[0]
            commands = [*self.subcommands, *USER_COMMANDS]
            if word in commands:
                reject(f"{word} is a command: it comes first", f"ngshare {word} ...")
            reject(f"{word!r} is not understood", *close_match(word, commands))

    def reads_config_file(self) -> bool:
        return super().reads_config_file() and not self.generate_config

    def start(self) -> None:
        """Run the command on the command line, or serve until SIGTERM. Raises StartError."""
        if self.subapp is not None:
            self.subapp.start()
            return
        if self.generate_config:
            write_config_file(self.config_file, self.generate_config_file())
            return
        launcher = os.getppid()
        self._set_up_logging(logging.DEBUG if self.debug else None)
        logging.getLogger("tornado.general").addFilter(HideMalformedRequests())
        logging.getLogger("tornado.application").addFilter(DropXsrfWarnings())
        checks.check_prefix(self.prefix)
        url = self._database_url()
        if not self.standalone:
            hub_service.check_hub(self.hub_api_url)
        identity = self._make_identity()
        if url.get_backend_name() == "sqlite":
            checks.check_writable(url.database or "")
        with shared_service_lock(url):
            self._run(url, identity, launcher)

    def _run(self, url: URL, identity: Identity, launcher: int) -> None:
        """Upgrade the database, listen, and serve until SIGTERM.

        launcher: the id of the process that launched this one.
        """
        blobs = checks.open_storage(self.storage)
        warnings = checks.check_database(url)
        before, revision = self._migrate(url, blobs.folder)
        with terminate_when_orphaned(launcher) if self.end_with_hub else contextlib.nullcontext():
            sockets = self._listen()
            self._log_banner(url, sockets, before, revision, warnings)
            is_first_worker = once_across_forks()

            def run(parent_pipe: int | None = None) -> None:
                asyncio.run(self._serve(url, identity, sockets, parent_pipe, is_first_worker()))

            if self.workers == 1:
                run()
            else:
                with share_metrics():
                    supervise(self.workers, run, sockets, forget_worker)
        orphaned = self.end_with_hub and os.getppid() != launcher
        self.log.info("Stopped%s", ": what launched it is gone" if orphaned else "")

    def _migrate(self, url: URL, storage: Path) -> tuple[str | None, str]:
        """Return the database's revisions before and after the upgrade, unless that is disabled."""
        if self.upgrade_database:
            return migrate.upgrade(url, storage, files_may_be_lost=self.adopt_without_files)
        revision = migrate.require_head(url)
        return revision, revision

    async def _serve(
        self,
        url: URL,
        identity: Identity,
        sockets: list[socket.socket],
        parent_pipe: int | None,
        check_hub: bool,
    ) -> None:
        """Serve in this process until SIGTERM, or until the parent process ends.

        parent_pipe: becomes readable when the parent process ends; None without workers.
        check_hub: log a warning when the Hub does not answer, or does not know this service.
        """
        stop = stop_event(parent_pipe)  # first, so that no signal is missed
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
            max_tree=self.max_tree_mib * 2**20,
            max_course_bytes=self.max_course_mib * 2**20 or None,
            requests_per_minute=self.max_requests_per_minute,
            open_metrics=not self.authenticate_prometheus,
            readiness_patience=self.readiness_patience,
            trusted_proxies=self.trusted_proxies,
        )
        secret = secrets.token_bytes(32) if self.standalone else hub_service.hub_cookie_secret()
        application = make_application(
            service, self.prefix, hub=not self.standalone, cookie_secret=secret
        )
        background = [identity.check_hub_connection] if check_hub else []
        await serve(service, application, sockets, stop, background=background)

    def _listen(self) -> list[socket.socket]:
        if self.standalone:
            host, port, settings = self.host, self.port, ("--host", "--port")
        else:
            host, port = hub_service.hub_service_address()
            setting = "configure_hub(c, url=...)" if self.end_with_hub else "JUPYTERHUB_SERVICE_URL"
            settings = (setting, setting)
        patience = TAKE_OVER_SECONDS if self.end_with_hub else 0
        return checks.bind(host, port, settings=settings, patience=patience)

    def _make_identity(self) -> Identity:
        if self.standalone:
            return StandaloneIdentity(OwnNames(self.host, self.host_names))
        return hub_service.hub_identity(self, self.prefix, self.hub_api_url)

    def _log_banner(
        self,
        url: URL,
        sockets: list[socket.socket],
        before: str | None,
        revision: str,
        warnings: Sequence[str],
    ) -> None:
        host, port = sockets[0].getsockname()[:2]
        banner = Banner(
            host=host,
            port=port,
            prefix=self.prefix,
            database=url,
            previous_revision=before,
            revision=revision,
            storage=self.storage,
            admins=self.admins,
            hub_api_url=None if self.standalone else self.hub_api_url,
            debug=self.debug,
            threads=self.threads,
            workers=self.workers,
        )
        for line in banner.facts():
            self.log.info(line)
        for line in (*warnings, *banner.warnings()):
            self.log.warning(line)


def _service_settings() -> list[Setting]:
    """Return the settings of the service and of its client of the Hub."""
    shared = SiteApplication.class_own_traits(config=True)
    service = help_text.own_settings(Ngshare, inherited=shared)
    client = help_text.own_settings(SharedHubAuth, inherited=["cache_max_age"])
    return [*(setting for setting in service if setting[1] not in _NOT_IN_HELP), *client]


def _all_configurables() -> Sequence[type[Configurable]]:
    """Return the classes of the service and of every command, whose settings share one file."""
    classes: list[Any] = [Ngshare]
    for each in classes:
        classes += [import_item(path) for path, _ in each.subcommands.values()]
    return [*classes, SharedHubAuth]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command ``ngshare``, and exit: with one line and code 1 when it cannot start."""
    # Other users of the machine must not read submissions.
    previous_umask = os.umask(0o077)
    app = Ngshare()
    try:
        app.initialize(argv)
        app.start()
    except StartError as error:
        print(f"ngshare: {checks.redact_passwords(str(error))}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:  # before it listens; later, SIGINT stops it normally
        print("ngshare: interrupted; it can be started again", file=sys.stderr)
        sys.exit(1)
    finally:
        os.umask(previous_umask)
    sys.exit(0)


def main_standalone() -> NoReturn:
    """Run the command ``vngshare``: the service without a Hub."""
    main(["--vngshare", *sys.argv[1:]])
