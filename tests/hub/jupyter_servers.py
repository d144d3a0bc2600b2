"""Users' Jupyter servers behind a real Hub, and a browser in which people click."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from playwright.sync_api import BrowserContext, FrameLocator, Page

from tests.hub.running import RunningHub

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "ngshare" / "exchange" / "server_extension" / "ngshare.json"
CONFIGURATION_FOLDER = "jupyter_server_config.d"

START_SECONDS = 300
"""How long a server may take to start. It takes four seconds of a core."""

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"),
    *("--disable-component-update", "--disable-sync"),
)

NBGRADER_CONFIG = """
from ngshare.exchange import configure_exchange

configure_exchange(get_config())
"""
"""What docs/nbgrader.md tells an administrator to write."""


def configure_servers(folder: Path) -> str:
    """Return lines for jupyterhub_config.py that give users real servers with nbgrader.

    folder: receives nbgrader's configuration, and the file that enables the extension if this
        environment has ngshare from a checkout and not from an installation.
    """
    folder.mkdir()
    (folder / "nbgrader_config.py").write_text(NBGRADER_CONFIG)
    installed = Path(sysconfig.get_path("data"), "etc", "jupyter", CONFIGURATION_FOLDER)
    if not (installed / EXTENSION.name).exists():
        (folder / CONFIGURATION_FOLDER).mkdir()
        shutil.copy(EXTENSION, folder / CONFIGURATION_FOLDER)
    environment = {
        "JUPYTER_CONFIG_PATH": str(folder),
        "PATH": os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"])),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "jupyterhub.singleuser", "--allow-root"]
    return f"""
c.Spawner.cmd = {command!r}
c.Spawner.environment = {environment!r}
c.Spawner.environment["NGSHARE_URL"] = c.JupyterHub.bind_url + "services/ngshare"
c.Spawner.start_timeout = c.Spawner.http_timeout = {START_SECONDS}
"""


def ngshare_command() -> str:
    """Return how ``ngshare`` is called in a terminal of a user's server.

    An environment that was made from an older checkout has another command of this name.
    """
    program = Path(sysconfig.get_path("scripts"), "ngshare")
    is_current = program.exists() and "ngshare.__main__" in program.read_text()
    return "ngshare" if is_current else "python -m ngshare"


class Person:
    """A user with a browser window, logged in at the Hub."""

    def __init__(self, hub: RunningHub, context: BrowserContext, name: str, shots: Path) -> None:
        self.hub = hub
        self.name = name
        self.page: Page = context.new_page()
        # Large enough that JupyterLab's notice about its news covers nothing.
        self.page.set_viewport_size({"width": 1400, "height": 1200})
        self.page.set_default_timeout(60_000)
        self._shots = shots
        self._token = hub.make_user(name)

    @property
    def home(self) -> Path:
        """The folder in which the user's server starts."""
        return self.hub.folder / "homes" / self.name

    def ask(self, path: str) -> str:
        """Return what the service answers the user."""
        return self.hub.ask("GET", path, self._token).text

    def open(self, path: str) -> None:
        """Open a page of the user's server, and log in if the Hub asks for that."""
        self.page.goto(f"{self.hub.url}user/{self.name}/{path}")
        if "/hub/login" in self.page.url:
            self.page.fill("#username_input", self.name)
            self.page.fill("#password_input", "any")
            self.page.click("#login_submit")
            self.page.wait_for_url(f"**/user/{self.name}/**", timeout=1000 * START_SECONDS)

    def menu(self) -> list[str]:
        """Return the items of the menu Nbgrader, which stays open."""
        self.page.locator(".lm-MenuBar-itemLabel", has_text="Nbgrader").click()
        items = self.page.locator(".lm-Menu-itemLabel:visible")
        items.first.wait_for()
        return items.all_inner_texts()

    def open_tab(self, item: str) -> None:
        """Click an item of the menu Nbgrader."""
        self.menu()
        self.page.locator(".lm-Menu-itemLabel:visible", has_text=item).click()

    @property
    def formgrader(self) -> FrameLocator:
        """The frame in the tab Formgrader."""
        return self.page.frame_locator("iframe[src*='formgrader']")

    def confirm(self, text: str) -> None:
        """Wait for formgrader's window with a text, and close it."""
        window = self.formgrader.locator(".modal-content", has_text=text)
        window.get_by_role("button", name="OK").click()
        window.wait_for(state="detached")

    def shot(self, name: str) -> None:
        """Keep a screenshot in the folder of the test."""
        self.page.screenshot(path=self._shots / f"{name}.png")
