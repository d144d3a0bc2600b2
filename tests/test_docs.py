"""Every route, every setting and every command is in the documentation."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from traitlets.config import Application
from traitlets.utils.importstring import import_item

import ngshare
from ngshare.actions.audit import EVENTS
from ngshare.actions.roster import STUDENT_IS_INSTRUCTOR
from ngshare.app import Ngshare, SiteApplication
from ngshare.web.application import routes
from ngshare.web.auth.hub_client import SharedHubAuth
from ngshare.web.monitoring.metrics import Metrics
from ngshare.web.route_access import implemented_methods
from tests.web.test_order_of_checks import ORDER

DOCS = Path(__file__).parents[1] / "docs"


def documented_routes() -> set[tuple[str, int]]:
    """The first part of every documented path with its number of parts, after its method."""
    text = (DOCS / "api.md").read_text()
    found = set()
    for method, path in re.findall(r"`(GET|POST|PUT|DELETE) ([^`]+)`", text):
        found.add((f"{method} {path.partition('/{')[0]}", path.count("{")))
    return found


ROUTES = [
    (f"{method.upper()} {pattern.partition('/([')[0].replace(chr(92), '')}", pattern.count("("))
    for pattern, handler in routes("", hub=True)
    if pattern not in ("", "/healthz", "/readyz")
    for method in implemented_methods(handler)
]


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_route_is_documented(route: tuple[str, int]) -> None:
    assert route in documented_routes()


FAILURES = {
    *(check.failure for checks in ORDER.values() for check in checks),
    (400, "Permission denied (cannot modify other instructors)"),
    (400, "Content cannot be base64 decoded"),
    (409, STUDENT_IS_INSTRUCTOR),
}
"""What the tests of the contract look for, in the order of its checks or by itself."""


def test_failures_of_the_contract_are_documented_each_and_no_other() -> None:
    rows = re.findall(r"^\| (\d+) \| `([^`]+)` \|", (DOCS / "api.md").read_text(), re.M)
    assert sorted((int(status), message) for status, message in rows) == sorted(FAILURES)


@pytest.mark.parametrize(
    "name",
    sorted(
        {*SiteApplication.class_own_traits(config=True), *Ngshare.class_own_traits(config=True)}
    ),
)
def test_setting_is_documented(name: str) -> None:
    if name not in ("log_format", "log_datefmt"):  # as in every Jupyter application
        assert f"`{name}`" in (DOCS / "settings.md").read_text()


@pytest.mark.parametrize("name", sorted(SharedHubAuth.class_own_traits(config=True)))
def test_setting_of_the_hub_client_is_documented(name: str) -> None:
    assert f"`{name}`" in (DOCS / "settings.md").read_text()


@pytest.mark.parametrize("flag", sorted({**Ngshare.aliases, **Ngshare.flags}, key=str))
def test_option_is_documented(flag: str) -> None:
    text = (DOCS / "settings.md").read_text()
    assert flag in ("log-level", "f") or f"--{flag}" in text


def commands(application: type[Application]) -> list[type[Application]]:
    """Every command below this one that is no group of others."""
    found = []
    for where, _ in application.subcommands.values():
        below = import_item(where)
        found += commands(below) if below.subcommands else [below]
    return found


@pytest.mark.parametrize("command", commands(Ngshare), ids=lambda command: command.name.default())
def test_command_is_documented(command: type[Application]) -> None:
    text = (DOCS / "commands.md").read_text()
    name = command.name.default()
    assert re.search(rf"^\| `{name}[` ]", text, re.MULTILINE)
    assert "This is an application" not in command().description
    assert name in command.examples.default()
    for option in {**command.aliases, **command.flags}:
        assert option == "f" or f"`--{option}" in text, option


def test_metrics_are_documented_each_and_no_other() -> None:
    page = Metrics().exposition().decode()
    shown = {name for name in re.findall(r"^# TYPE (\S+)", page, re.M) if "_created" not in name}
    table = re.findall(r"^\| `(ngshare_\w+)", (DOCS / "monitoring.md").read_text(), re.M)
    assert sorted(table) == sorted(shown)


def events() -> Iterator[str]:
    """Every event that the code writes into the audit log; ``...`` for a part that varies."""
    place = {"record": 2, "record_members": 2, "reply_tree": 0}
    for path in Path(ngshare.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            event = node.args[place[name]] if len(node.args) > place.get(name, 99) else None
            if isinstance(event, ast.Constant):
                yield str(event.value)
            elif isinstance(event, ast.JoinedStr):
                yield "".join(
                    getattr(part, "value", "...") if isinstance(part, ast.Constant) else "..."
                    for part in event.values
                )


@pytest.mark.parametrize("event", sorted(set(events())))
def test_event_of_the_audit_log_is_documented(event: str) -> None:
    assert f"`{event}`" in (DOCS / "api.md").read_text()


def test_events_are_listed() -> None:
    """What the code writes is what ``ngshare log --event`` takes."""
    endings = {event.removeprefix("...") for event in events() if event.startswith("...")}
    whole = {event for event in events() if not event.startswith("...")}
    assert whole <= set(EVENTS)
    more = set(EVENTS) - whole - {"site adopted"}  # which an adoption writes by itself
    assert all(event.endswith(tuple(endings)) for event in more)


def test_events_are_found() -> None:
    assert {"submission handed in", "assignment fetched", "... restored"} <= set(events())
