"""Starts and stops a JupyterHub, its proxy and the service, and speaks to them as clients do."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests

PATIENCE = 60
"""How many seconds anything here may take to start; it takes a few."""

CONFIG = """
c = get_config()
c.JupyterHub.bind_url = {public!r}
c.JupyterHub.hub_bind_url = {hub!r}
c.JupyterHub.db_url = {hub_database!r}
c.JupyterHub.cookie_secret_file = {cookie_secret!r}
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = {homes!r}
c.Spawner.cmd = {server!r}
c.ConfigurableHTTPProxy.command = [{proxy!r}]
c.ConfigurableHTTPProxy.api_url = {proxy_api!r}
c.ConfigurableHTTPProxy.auth_token = {proxy_token!r}
c.JupyterHub.services = [
    {{"name": "tester", "api_token": {tester!r}}},
    {{
        "name": "other",
        "api_token": {other_token!r},
        "oauth_redirect_uri": {other!r},
        "oauth_no_confirm": True,
    }},
]
c.JupyterHub.load_roles = [
    {{
        "name": "tester",
        "scopes": ["admin:users", "admin:servers", "tokens", "shutdown"],
        "services": ["tester"],
    }},
    {{"name": "user", "scopes": ["self", "access:services!service=other"]}},
]
{site}
from ngshare.hub import configure_hub
configure_hub(c, {arguments})
"""
"""What a site has configured already, and the one call that adds ngshare to it."""


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """What the condition returns as soon as that is true; fail after so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what}: not after {seconds} s")


class RunningHub:
    """A JupyterHub with ngshare, in a folder of its own.

    folder: where everything is kept, logs too.
    proxy: the program configurable-http-proxy.
    base_url: below which path the Hub is, with slashes around it.
    site: more lines of the site's own for jupyterhub_config.py, before the call.
    args: more arguments for the service.
    external: whether the proxy and the service run by themselves, as on Kubernetes.
    """

    def __init__(
        self,
        folder: Path,
        proxy: Path,
        *,
        base_url: str = "/",
        site: str = "",
        args: list[str] | None = None,
        external: bool = False,
        database: str | None = None,
    ) -> None:
        self.folder = folder
        self.proxy = proxy
        self.external = external
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.orphans: list[tuple[int, str]] = []
        public, hub, self.proxy_port, service = free_ports(4)
        self.url = f"http://127.0.0.1:{public}{base_url}"
        self.hub_url = f"http://127.0.0.1:{hub}{base_url}hub/"
        self.hub_port = hub
        self.api_url = self.hub_url + "api"
        """Where the service asks the Hub; for tests that put something in between."""
        self.service_url = f"http://127.0.0.1:{service}"
        self.prefix = f"{base_url}services/ngshare/"
        self.ngshare = f"http://127.0.0.1:{public}{self.prefix}"
        self.other = self.url + "other"
        self.token = "tester-" + os.urandom(8).hex()
        self.other_token = "other-" + os.urandom(8).hex()
        self.service_token = "ngshare-" + os.urandom(8).hex()
        self.proxy_token = os.urandom(8).hex()
        self.database = database or f"sqlite:///{folder}/ngshare.db"
        self.storage = f"{folder}/files"
        self.args = args or []
        self.session = requests.Session()
        self.session.trust_env = False  # no proxy of the machine's stands between
        arguments = (
            f"launch=False, url={self.service_url!r}, api_token={self.service_token!r}"
            if external
            else f"admins=['ada'], url={self.service_url!r}, database={self.database!r}, "
            f"storage={self.storage!r}, args={self.args!r}"
        )
        if external:
            site += "\nc.ConfigurableHTTPProxy.should_start = False"
            site += "\nc.JupyterHub.cleanup_proxy = c.JupyterHub.cleanup_servers = False"
        text = CONFIG.format(
            public=self.url,
            hub=f"http://127.0.0.1:{hub}",
            hub_database=f"sqlite:///{folder}/hub.sqlite",
            cookie_secret=f"{folder}/cookie_secret",
            homes=f"{folder}/homes/{{username}}",
            server=[sys.executable, str(Path(__file__).with_name("server.py"))],
            proxy=str(proxy),
            proxy_api=f"http://127.0.0.1:{self.proxy_port}",
            proxy_token=self.proxy_token,
            tester=self.token,
            other=self.other,
            other_token=self.other_token,
            site=site,
            arguments=arguments,
        )
        (folder / "jupyterhub_config.py").write_text(text)

    def start(self) -> None:
        """Start everything, and wait until the service answers through the proxy."""
        if self.external:
            self.start_proxy()
            self.start_service()
        self.start_hub()
        self.wait_for_service()

    def start_hub(self) -> None:
        """Start the Hub, and whatever it launches itself."""
        self._launch("hub", [sys.executable, "-m", "jupyterhub"])

    def kill_hub(self) -> None:
        """End the Hub at once, so that it stops nothing of what it launched."""
        process = self.processes["hub"]
        self.orphans += tree_of(process.pid)[1:]
        process.kill()
        process.wait()

    def start_proxy(self) -> None:
        """Start the proxy by itself."""
        port = self.url.split(":")[2].split("/")[0]
        self._launch(
            "proxy",
            [
                str(self.proxy),
                *("--ip", "127.0.0.1", "--port", port),
                *("--api-ip", "127.0.0.1", "--api-port", str(self.proxy_port)),
                *("--default-target", self.hub_url.removesuffix("hub/")),
            ],
            CONFIGPROXY_AUTH_TOKEN=self.proxy_token,
        )

    def start_service(self) -> None:
        """Start the service by itself, with the environment that the Helm chart gives it."""
        self._launch(
            "ngshare",
            [
                *(sys.executable, "-m", "ngshare", "--admins", "ada"),
                *("--database", self.database, "--storage", self.storage, *self.args),
            ],
            JUPYTERHUB_SERVICE_NAME="ngshare",
            JUPYTERHUB_SERVICE_URL=self.service_url,
            JUPYTERHUB_SERVICE_PREFIX=self.prefix,
            JUPYTERHUB_BASE_URL=self.prefix.removesuffix("services/ngshare/"),
            JUPYTERHUB_API_URL=self.api_url,
            JUPYTERHUB_API_TOKEN=self.service_token,
            JUPYTERHUB_CLIENT_ID="service-ngshare",
        )

    def wait_for_service(self) -> None:
        """Wait until the service answers through the proxy, and the Hub does too."""
        direct = self.service_url + self.prefix
        for url in (self.hub_url + "api", direct + "healthz", self.ngshare + "healthz"):
            wait_for(lambda url=url: self._answers(url), f"{url} answers; see {self.folder}/*.log")

    def stop(self) -> None:
        """End everything that was started here, and all that it started."""
        started = [each for process in self.processes.values() for each in tree_of(process.pid)]
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
        for pid, born in (*started, *self.orphans):
            if born == _born(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for process in self.processes.values():
            process.wait(20)
        self.session.close()

    def api(self, method: str, path: str, token: str | None = None, **fields: Any) -> Any:
        """What the Hub's own API answers; as the tester unless another token is given."""
        reply = self.session.request(
            method,
            self.url + "hub/api/" + path,
            headers={"Authorization": f"token {token or self.token}"},
            json=fields or None,
            timeout=30,
        )
        reply.raise_for_status()
        return reply.json() if reply.content else None

    def make_user(self, name: str, scopes: list[str] | None = None) -> str:
        """A token of this user, who is made if need be; with all that they may, or these scopes."""
        with contextlib.suppress(requests.HTTPError):  # 409: made already
            self.api("POST", f"users/{name}")
        fields: dict[str, Any] = {"note": "test"}
        if scopes is not None:
            fields["scopes"] = scopes
        token: str = self.api("POST", f"users/{name}/tokens", **fields)["token"]
        return token

    def start_server(self, name: str) -> dict[str, str]:
        """Start the user's server; the environment that the Hub gave it."""
        with contextlib.suppress(requests.HTTPError):
            self.api("POST", f"users/{name}")
        self.api("POST", f"users/{name}/server")
        wait_for(
            lambda: self.api("GET", f"users/{name}")["servers"].get("", {}).get("ready"),
            f"the server of {name} is up",
        )
        environment: dict[str, str] = json.loads(
            (self.folder / "homes" / name / "environment.json").read_text("utf8")
        )
        return environment

    def ask(
        self, method: str, path: str, token: str | None = None, **options: Any
    ) -> requests.Response:
        """What the service answers, through the proxy."""
        headers = {"Authorization": f"token {token}"} if token else {}
        return self.session.request(
            method,
            self.ngshare + path,
            headers={**headers, **options.pop("headers", {})},
            timeout=options.pop("timeout", 30),
            allow_redirects=False,
            **options,
        )

    def workers(self) -> list[int]:
        """The processes of the service that answer requests."""
        found = []
        for process in self.processes.values():
            pids = [pid for pid, _ in tree_of(process.pid) if "-m\0ngshare\0" in _command(pid)]
            found += pids[1:] or pids  # the first starts the others, if there are any
        return found

    def log(self, name: str = "hub") -> str:
        """What a process has written so far."""
        text = (self.folder / f"{name}.log").read_text("utf8", "replace")
        return re.sub(r"\x1b\[[0-9;]*m", "", text)

    def _answers(self, url: str) -> bool:
        try:
            return self.session.get(url, timeout=5).ok
        except requests.RequestException:
            return False

    def _launch(self, name: str, command: list[str], **environment: str) -> None:
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def tree_of(pid: int) -> list[tuple[int, str]]:
    """A process and all its descendants, each with when it was born."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return [(each, born) for each in found if (born := _born(each))]


def _parents() -> Iterator[tuple[int, int]]:
    for folder in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(folder.name))
        if fields:
            yield int(folder.name), int(fields[1])


def _born(pid: int) -> str:
    """When a process was born, so that a number that was given again is not mistaken for it."""
    fields = _stat(pid)
    return fields[19] if fields else ""


def _command(pid: int) -> str:
    """A process's program and arguments, each ended by a NUL."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf8")
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the program's name; none when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
