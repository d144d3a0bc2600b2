"""Checks of nbgrader's configuration: its files, the configured plugin, the course."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ngshare.exchange.commands.doctor.findings import Finding, note, ok, wrong
from ngshare.exchange.commands.nbgrader_config import NbgraderConfig, config_folders

CLASSES = (
    *("exchange", "fetch_assignment", "fetch_feedback", "release_assignment"),
    *("release_feedback", "list", "submit", "collect"),
)
"""The settings of nbgrader's ExchangeFactory, each with a class of a plugin."""

LINES = "from ngshare.exchange import configure_exchange; configure_exchange(get_config())"

_OLD_IMPORT = re.compile(r"^\s*(?:import|from)\s+ngshare_exchange\b", re.MULTILINE)


def check_configuration(settings: NbgraderConfig) -> Iterator[Finding]:
    """Yield the findings about nbgrader's configuration files."""
    for path, error in settings.errors.items():
        yield wrong("configuration", f"{path} cannot be read: {_explain(error)}")
    if settings.files:
        yield ok("configuration", ", ".join(map(str, settings.files)))
    elif not settings.errors:
        folders = ", ".join(map(str, config_folders()))
        yield wrong(
            "configuration",
            f"there is no nbgrader_config.py in {folders}: write one, for all users "
            f"/etc/jupyter/nbgrader_config.py, with: {LINES}",
        )
    yield from _check_plugin(settings)
    course = settings.get("CourseDirectory", "course_id")
    if course == "*":
        yield wrong(
            "course_id",
            "c.CourseDirectory.course_id = '*' is no course, and nbgrader makes one of it in "
            "its gradebook: remove that line, since the plugin asks ngshare for your courses",
        )


def _check_plugin(settings: NbgraderConfig) -> Iterator[Finding]:
    """Yield whether the classes that nbgrader will use are those of ``ngshare.exchange``."""
    packages = {name: _package_of(settings.get("ExchangeFactory", name)) for name in CLASSES}
    others = {package for package in packages.values() if package != "ngshare.exchange"}
    if others == {None} and None in packages.values() and len(set(packages.values())) == 1:
        yield wrong(
            "plugin",
            "nbgrader uses its own exchange, a shared folder, and not ngshare: add to "
            f"nbgrader_config.py: {LINES}",
        )
    elif "ngshare_exchange" in others:
        yield wrong(
            "plugin",
            "the older plugin ngshare_exchange is configured: remove its lines (import "
            f"ngshare_exchange, configureExchange) from nbgrader_config.py, and write: {LINES}",
        )
    elif others:
        names = ", ".join(name for name in CLASSES if packages[name] in others)
        yield wrong(
            "plugin",
            f"c.ExchangeFactory has classes that are not ngshare's ({names}): remove their lines "
            "from nbgrader_config.py, or put configure_exchange after them",
        )
    else:
        yield ok("plugin", "ngshare.exchange")
    for path in settings.files if "ngshare_exchange" not in others else ():
        if path.suffix == ".py" and _OLD_IMPORT.search(path.read_text("utf8", "replace")):
            yield wrong(
                "plugin",
                f"{path} still has lines of the older plugin ngshare_exchange: remove them",
            )
    plugin = settings.get("Authenticator", "plugin_class")
    if not others and _package_of(plugin) != "ngshare.exchange":
        yield note(
            "plugin",
            "c.Authenticator.plugin_class is not ngshare's, so the menus and formgrader's "
            "students do not follow the rosters of ngshare",
        )


def _package_of(value: Any) -> str | None:
    """Return the package of a class that is configured, itself or by name; None without one."""
    if value is None:
        return None
    module = value if isinstance(value, str) else value.__module__
    parts = str(module).split(".")
    return ".".join(parts[:2] if parts[0] == "ngshare" else parts[:1])


def _explain(error: Exception) -> str:
    """Return what to do about an error that a configuration file raised."""
    if isinstance(error, ModuleNotFoundError) and error.name == "ngshare_exchange":
        return (
            "it imports the older plugin ngshare_exchange, which is not installed; remove its "
            f"lines, and write: {LINES}"
        )
    if isinstance(error, ModuleNotFoundError):
        return f"there is no module {error.name} here; install it, or remove the line"
    return f"{type(error).__name__}: {error}; mend that line"
