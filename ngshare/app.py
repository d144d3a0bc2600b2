"""The application: configuration, command line, the order of start-up, listening."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import secrets
import signal
import socket
import sys
import textwrap
from collections.abc import Generator, Iterator, Sequence
from copy import deepcopy
from typing import Any, NoReturn

from sqlalchemy import URL
from traitlets import Bool, Float, Integer, TraitError, Unicode, default, validate
from traitlets.config import Application, Config, Configurable
from traitlets.utils.importstring import import_item

from ngshare import __version__, help, metrics, migrate, wire
from ngshare.announcement import Start
from ngshare.blobs import LocalBlobs
from ngshare.commandline import (
    CommandLine,
    Names,
    check_names,
    in_plain_words,
    nearest,
    refuse,
)
from ngshare.database import CannotOpen, Database, examine, parse_url
from ngshare.launcher import ending_with
from ngshare.logs import JsonFormatter, PlainFormatter
from ngshare.startup import (
    StartError,
    bind,
    check_hub,
    check_prefix,
    check_writable,
    hub_address,
    open_storage,
    without_passwords,
)
from ngshare.web.application import make_application
from ngshare.web.auth import (
    HubIdentity,
    Identity,
    SharedHubAuth,
    StandaloneIdentity,
    derive_secret,
)
from ngshare.web.server import KnownAnyway, NothingSent, make_server
from ngshare.web.service import Service
from ngshare.workers import once, supervise

STOP_SECONDS = 25
"""How long requests in flight may take after SIGTERM; Kubernetes kills after 30."""

TAKE_OVER_SECONDS = 10
"""How long the port is waited for that an ngshare of a killed Hub gives up about now."""

FLUSH_SECONDS = 3
"""How long what is still kept in memory may take to be written after that."""

DEFAULT_DATABASE = "sqlite:////srv/ngshare/ngshare.db"

DATABASE_VARIABLE = "NGSHARE_DATABASE"
"""The environment variable that names the database where nothing else does."""


class Ngshare(Application):
    """The exchange that lets nbgrader run on any JupyterHub.

    As a service of a JupyterHub it takes from the Hub's environment where to
    listen and whom to ask who its users are. With --vngshare it runs alone, for
    trying out, and believes everybody.
    """

    name = Unicode("ngshare")
    version = Unicode(__version__)
    subcommand_description = Unicode(
        "Commands for administrators, safe while the service runs. Each has a help of its own: "
        "`{app} storage check --help`. Without a command, the service starts."
    )
    subcommands = {
        "db": ("ngshare.commands.db.Db", "Look at the database, upgrade, back up, restore"),
        "storage": ("ngshare.commands.storage.Storage", "Check the files, free room"),
        "log": ("ngshare.commands.log.Log", "Show who did what, and who has not handed in"),
        "export": ("ngshare.commands.export.Export", "Pack everything of a course in one file"),
        "trash": ("ngshare.commands.trash.Trash", "List, restore, purge what was removed"),
    }
    examples = """
    ngshare --admins ada                       # launched by a Hub, with its environment
    vngshare --debug --admins ada \\
        --database sqlite:////tmp/x/ngshare.db --storage /tmp/x/files
    """

    database = Unicode(
        DEFAULT_DATABASE,
        help="The database, as a SQLAlchemy URL; $NGSHARE_DATABASE when not given",
    ).tag(config=True)
    storage = Unicode("/srv/ngshare/files/", help="The folder that holds the files").tag(
        config=True
    )
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
    adopt_without_files = Bool(
        False,
        help="Adopt a site of ngshare 0.6 even when not one of its files is in the storage",
    ).tag(config=True)
    standalone = Bool(
        False, help="Run without a Hub and believe the parameter 'user' of each request"
    ).tag(config=True)
    host = Unicode("127.0.0.1", help="Where to listen, stand-alone only").tag(config=True)
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
    keep_removed_days = Integer(
        30, min=0, help="For how many days what was removed stays in the trash, at least"
    ).tag(config=True)
    max_in_flight_mib = Integer(
        256,
        min=1,
        help="How much of uploads may be in memory at once, and of downloads, in MiB; others wait",
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
    json_logs = Bool(False, help="Write the log as JSON, one object for each line").tag(config=True)
    config_file = Unicode("ngshare_config.py", help="The configuration file, if there is one").tag(
        config=True
    )
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
            "Adopt a site of ngshare 0.6 although all of its files are lost",
        ),
        "log-json": ({"Ngshare": {"json_logs": True}}, "Write the log as JSON lines"),
        "vngshare": ({"Ngshare": {"standalone": True}}, "Run without a Hub, believing everybody"),
        "generate-config": (
            {"Ngshare": {"generate_config": True}},
            "Write a commented ngshare_config.py here, and end",
        ),
    }
    classes = [SharedHubAuth]

    log_datefmt = Unicode("%Y-%m-%d %H:%M:%S").tag(config=True)
    log_format = Unicode(
        "%(color)s[%(levelname)1.1s %(asctime)s.%(msecs).03d %(name)s]%(end_color)s %(message)s"
    ).tag(config=True)
    _log_formatter_cls = PlainFormatter  # type: ignore[assignment]  # as JupyterHub does

    @default("description")
    def _default_description(self) -> str:
        return inspect.getdoc(type(self)) or ""

    _advice: Sequence[str] = ()
    """What an administrator should change about the database's server."""

    @default("log_level")
    def _default_log_level(self) -> int:
        return logging.INFO

    @default("database")
    def _default_database(self) -> str:
        # A password on a command line is shown to every user of the machine.
        return os.environ.get(DATABASE_VARIABLE) or DEFAULT_DATABASE

    @default("prefix")
    def _default_prefix(self) -> str:
        return os.environ.get("JUPYTERHUB_SERVICE_PREFIX") or "/api/"

    @validate("prefix")
    def _check_prefix(self, proposal: dict[str, Any]) -> str:
        prefix: str = proposal["value"]
        check_prefix(prefix)
        return prefix

    @validate("storage")
    def _check_storage(self, proposal: dict[str, Any]) -> str:
        storage: str = proposal["value"]
        if not storage.strip():
            raise StartError("--storage is empty; name the folder of the files")
        return storage

    @validate("admins")
    def _check_admins(self, proposal: dict[str, Any]) -> list[str]:
        admins: list[str] = proposal["value"]
        for name in admins:
            if not wire.is_name(name):
                raise StartError(
                    f"--admins names {name!r}, which no user can have: a name has 1 to "
                    f"{wire.NAME_LENGTH} characters, no slash and no control character; "
                    "write commas between names"
                )
        return admins

    @default("hub_api_url")
    def _default_hub_api_url(self) -> str:
        return os.environ.get("JUPYTERHUB_API_URL", "")

    def initialize(self, argv: Sequence[str] | None = None) -> None:
        """Read the command line and the configuration file. Raises StartError."""
        self.parse_command_line(list(argv) if argv is not None else None)
        if self.subapp is not None:
            return  # it reads the settings itself
        self._take_words(self.extra_args)
        command_line = deepcopy(self.cli_config)
        if self.config_file and not self.generate_config:
            self._read_config_file(self.config_file)
            self.update_config(command_line)

    def emit_help(self, classes: bool = False) -> Generator[str, None, None]:
        """Its help; with ``classes`` every setting."""
        yield "ngshare [OPTIONS]          start the service"
        yield "ngshare COMMAND [OPTIONS]  one of the commands for administrators"
        yield ""
        yield from help.paragraphs(self.description)
        yield "Commands: safe while the service runs; each has a help of its own"
        for name, (_, text) in self.subcommands.items():
            yield from help.columns(name, text)
        yield ""
        yield "Options"
        own = {name for _, name, _ in self._settings()}
        for name, where in self.aliases.items():
            if name != "f":  # the short one of --config
                setting = where.rpartition(".")[2]
                own.discard(setting)
                yield from help.columns(*help.option(name, self.traits()[setting]))
        for name, (values, text) in self.flags.items():
            own.discard(next(iter(dict(values)["Ngshare"])))
            yield from help.columns(f"--{name}", text)
        yield from help.columns("--version", "Print the version")
        yield from help.columns("--help, --help-all", "Print this; print every setting")
        if classes:
            yield ""
            yield "Settings that have no short option"
            yield from help.of_settings(each for each in self._settings() if each[1] in own)
            yield from help.of_settings(self._settings_of_client())
        yield ""
        yield "Each can stand in ngshare_config.py too; `ngshare --generate-config` writes one."
        yield ""
        yield "Examples"
        yield textwrap.indent(inspect.cleandoc(self.examples), "  ")

    def generate_config_file(self, classes: Any = None) -> str:
        """The text of a configuration file with every setting as a comment."""
        return help.configuration_file([*self._settings(), *self._settings_of_client()])

    @staticmethod
    def _settings() -> Iterator[help.Setting]:
        for each in help.settings(Ngshare):
            if each[1] not in ("config_file", "generate_config", "log_format", "log_datefmt"):
                yield each

    @staticmethod
    def _settings_of_client() -> Iterator[help.Setting]:
        return help.settings(SharedHubAuth, also=["cache_max_age"])

    def _take_words(self, words: Sequence[str]) -> None:
        """Refuse what stands on the command line without a dash; commands take some."""
        if words:
            if words[0] in self.subcommands:
                refuse(f"{words[0]} is a command: it comes first", f"ngshare {words[0]} ...")
            refuse(f"{words[0]!r} is not understood", *nearest(words[0], self.subcommands))

    def update_config(self, config: Config) -> None:
        """Take new settings. Raises StartError.

        traitlets would log a wrong one and end, in debug mode with every other
        setting beside it, among them the database's password.
        """
        check_names(config, [type(self), SharedHubAuth], _every_application)
        try:
            super().update_config(config)
        except TraitError as error:
            raise StartError(in_plain_words(error, self.aliases)) from error

    def _create_loader(self, argv: Any, aliases: Any, flags: Any, classes: Any) -> CommandLine:
        return CommandLine(argv, aliases, flags, classes=classes, log=self.log)

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

    def start(self) -> None:
        """Run the command that was named, or serve until SIGTERM. Raises StartError."""
        if self.subapp is not None:
            self.subapp.start()
            return
        if self.generate_config:
            self._write_config()
            return
        launcher = os.getppid()
        self._set_up_logging()
        check_prefix(self.prefix)
        url = self._database_url()
        if not self.standalone:
            check_hub(self.hub_api_url)
        identity = self._make_identity()
        before, revision = self._migrate(url, open_storage(self.storage))
        with ending_with(launcher) if self.end_with_hub else contextlib.nullcontext():
            sockets = self._listen()
            self._announce(url, sockets, before, revision)

            asks_hub = once()

            def serve(alive: int | None = None) -> None:
                asyncio.run(self._serve(url, identity, sockets, alive, asks_hub()))

            if self.workers == 1:
                serve()
            else:
                with metrics.shared():
                    supervise(self.workers, serve, sockets, metrics.forget_worker)
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
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stop.set)
        if alive is not None:
            loop.add_reader(alive, stop.set)
        service = Service(
            database=Database(url, connections=self.threads, time_limits=True),
            blobs=LocalBlobs(self.storage),
            identity=identity,
            admins=self.admins,
            debug=self.debug,
            threads=self.threads,
            max_body=self.max_request_mib * 2**20,
            max_in_flight=self.max_in_flight_mib * 2**20,
            max_files=self.max_files,
            max_course_bytes=self.max_course_mib * 2**20 or None,
            requests_per_minute=self.max_requests_per_minute,
            open_metrics=not self.authenticate_prometheus,
            readiness_patience=self.readiness_patience,
        )
        application = make_application(
            service, self.prefix, hub=not self.standalone, cookie_secret=self._cookie_secret()
        )
        server = make_server(application)
        server.add_sockets(sockets)
        asking = asyncio.create_task(identity.greet()) if asks_hub else None
        await stop.wait()
        if asking:
            asking.cancel()
        server.stop()
        try:
            await asyncio.wait_for(service.idle(), STOP_SECONDS)
        except asyncio.TimeoutError:
            self.log.error("Some requests took over %d s to finish and were cut off", STOP_SECONDS)
        else:
            self.log.info("Every request in flight is finished")
        await server.close_all_connections()
        try:
            await asyncio.wait_for(service.finish(), FLUSH_SECONDS)
        except asyncio.TimeoutError:
            self.log.error("The reads of the last seconds are missing from the audit log")
        service.close()

    def _set_up_logging(self) -> None:
        level = logging.DEBUG if self.debug else self.log.level
        self.log.setLevel(level)
        if self.json_logs:
            for handler in self.log.handlers:
                handler.setFormatter(JsonFormatter())
        # One handler for ours and for those of the libraries.
        for name in ("ngshare", "tornado", "alembic", "jupyterhub", "asyncio"):
            logger = logging.getLogger(name)
            if logger is not self.log:
                logger.handlers = list(self.log.handlers)
                logger.propagate = False
            logger.setLevel(level)
        # Every statement of a migration is too much even for debugging.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        # JupyterHub's client logs session ids and whole user models below this level.
        logging.getLogger("tornado.application").setLevel(logging.WARNING)
        logging.getLogger("tornado.general").addFilter(NothingSent())
        logging.getLogger("tornado.application").addFilter(KnownAnyway())

    def _database_url(self) -> URL:
        try:
            url = parse_url(self.database)
        except ValueError as error:
            # Its text is not repeated: a URL that is wrong may still hold a password.
            given = "--database"
            if "database" not in self.config.Ngshare and os.environ.get(DATABASE_VARIABLE):
                given = f"${DATABASE_VARIABLE}"
            raise StartError(f"{given} {error}") from error
        file = url.database or ""
        if url.get_backend_name() != "sqlite" or file.startswith(("/", "file:")):
            return url
        self.log.warning(
            "The database %s is relative to the folder where ngshare starts: it is %s. "
            "For /%s write four slashes: sqlite:////%s",
            self.database,
            os.path.abspath(file),
            file,
            file,
        )
        return url.set(database=os.path.abspath(file))

    def _migrate(self, url: URL, blobs: LocalBlobs | None = None) -> tuple[str | None, str]:
        if url.get_backend_name() == "sqlite":
            check_writable(url.database or "")
        try:
            self._advice = examine(url)
        except CannotOpen as error:
            raise StartError(str(error)) from error
        try:
            if self.upgrade_database:
                return migrate.upgrade(url, blobs, files_may_be_lost=self.adopt_without_files)
            revision = migrate.check(url, blobs)
            return revision, revision
        except migrate.MigrationError as error:
            raise StartError(str(error)) from error

    def _listen(self) -> list[socket.socket]:
        host, port = (self.host, self.port) if self.standalone else hub_address()
        service_url = "configure_hub(c, url=...)" if self.end_with_hub else "JUPYTERHUB_SERVICE_URL"
        settings = ("--host", "--port") if self.standalone else (service_url, service_url)
        patience = TAKE_OVER_SECONDS if self.end_with_hub else 0
        return bind(host, port, settings=settings, patience=patience)

    def _make_identity(self) -> Identity:
        if self.standalone:
            return StandaloneIdentity()
        try:
            hub_auth = SharedHubAuth(parent=self, base_url=self.prefix, api_url=self.hub_api_url)
        except TraitError as error:
            raise StartError(in_plain_words(error, self.aliases)) from error
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
        print(f"ngshare: {without_passwords(str(error))}", file=sys.stderr)
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
