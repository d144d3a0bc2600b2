"""ngshare and the peer as services of one real JupyterHub, asked with its users' tokens."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import load
from benchmarks.content import ADMIN, TEACHER
from benchmarks.load import Request
from benchmarks.processes import Process
from benchmarks.sites import Site, peer_command
from ngshare.hub import MALLOC
from tests.hub.running import RunningHub, wait_for

PROXY = Path.home() / ".cache/ngshare/proxy/node_modules/.bin/configurable-http-proxy"

PEER_SERVICE = """
c.JupyterHub.services.append({{
    "name": "peer",
    "url": "http://127.0.0.1:{port}",
    "api_token": "{token}",
    "oauth_no_confirm": True,
}})
c.JupyterHub.load_roles[1]["scopes"].append("access:services!service=peer")
c.JupyterHub.log_level = "WARN"
"""


def available() -> bool:
    """Whether the Hub's proxy is installed; JupyterHub itself comes with ngshare."""
    return Path(os.environ.get("NGSHARE_PROXY_DIR", PROXY)).exists()


class Hub(RunningHub):
    """A JupyterHub whose services are started by the sites. It runs on any core, as they do."""

    def __init__(self, folder: Path, peer_port: int) -> None:
        folder.mkdir(parents=True)
        self.peer_token = "peer-" + os.urandom(8).hex()
        service = PEER_SERVICE.format(port=peer_port, token=self.peer_token)
        super().__init__(folder, PROXY, site=service, external=True)
        self.peer_port = peer_port
        self.start_proxy()
        self.start_hub()

    def wait_for_hub(self) -> None:
        """Wait until it answers through the proxy."""
        wait_for(lambda: self._answers(f"{self.url}hub/api"), f"the Hub; see {self.folder}/*.log")

    def environment(self, name: str, token: str, url: str) -> dict[str, str]:
        """What the Hub tells a service."""
        return {
            "JUPYTERHUB_SERVICE_NAME": name,
            "JUPYTERHUB_SERVICE_URL": url,
            "JUPYTERHUB_SERVICE_PREFIX": f"/services/{name}/",
            "JUPYTERHUB_BASE_URL": "/",
            "JUPYTERHUB_API_URL": f"{self.hub_url}api",
            "JUPYTERHUB_API_TOKEN": token,
            "JUPYTERHUB_CLIENT_ID": f"service-{name}",
        }


class HubSite(Site):
    """A service of the Hub."""

    def __init__(
        self, name: str, folder: Path, hub: Hub, tokens: dict[str, str], students: Sequence[str]
    ) -> None:
        self.hub = hub
        self.tokens = tokens
        super().__init__(name, folder, students)

    def fill(self) -> None:
        direct = self.port
        super().fill()
        self.direct, self.proxied = direct, int(urlsplit(self.hub.url).port or 0)

    def get(self, path: str, user: str, **query: str) -> Request:
        # The plugin sends the parameter too; with a Hub it means nothing.
        return load.get(self.prefix + path, token=self.tokens[user], user=user, **query)

    def post(self, path: str, user: str, **fields: str) -> Request:
        return load.post(self.prefix + path, token=self.tokens[user], user=user, **fields)

    def post_body(self, path: str, user: str, body: bytes, marks: Sequence[bytes]) -> Request:
        return load.post_body(self.prefix + path, body, marks=marks, token=self.tokens[user])


class OursOnHub(HubSite):
    """This ngshare as a service."""

    prefix = "/services/ngshare/"
    health = f"{prefix}healthz"

    def start(self) -> Process:
        self.port = int(urlsplit(self.hub.service_url).port or 0)
        return Process(
            [
                *(sys.executable, "-m", "ngshare", "--admins", ADMIN, "--config", ""),
                *("--database", f"sqlite:///{self.folder}/ngshare.db"),
                *("--storage", f"{self.folder}/files"),
            ],
            self.folder,
            name="ngshare",
            environment={
                **MALLOC,
                **self.hub.environment("ngshare", self.hub.service_token, self.hub.service_url),
            },
        )


class PeerOnHub(HubSite):
    """ngshare 0.6.0 as a service."""

    prefix = "/services/peer/"
    health = f"{prefix}healthz"

    def start(self) -> Process:
        self.port = self.hub.peer_port
        return Process(
            [*peer_command(self.port, self.folder), "--hub"],
            self.folder,
            name="peer",
            environment=self.hub.environment(
                "peer", self.hub.peer_token, f"http://127.0.0.1:{self.port}"
            ),
        )


def make_tokens(hub: Hub, students: Sequence[str]) -> dict[str, str]:
    """A token for everybody in the class."""
    return {name: hub.make_user(name) for name in (ADMIN, TEACHER, *students)}
