"""Imports go one way, downward, as docs/code.md says."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import ngshare

PACKAGE = Path(ngshare.__file__).parent


class Room(NamedTuple):
    """What the modules of a package, or one module, may import.

    ngshare: modules and packages of ngshare. third_party: distributions, by their import names.
    """

    ngshare: set[str]
    third_party: set[str]


BOTTOM = {"errors", "files", "protocol"}
DATABASE = {"db", "blobs", *BOTTOM}
ACTIONS = {"actions", *DATABASE} - {"files"}

ROOMS: dict[str, Room] = {
    "__init__": Room(set(), set()),
    "__main__": Room({"app", "exchange.commands"}, set()),
    "errors": Room(set(), set()),
    "files": Room(set(), set()),
    "hub": Room(set(), set()),  # the Hub imports it
    "protocol": Room({"protocol", "errors"}, set()),  # runs in users' servers too
    "exchange": Room({"exchange", "protocol", "errors"}, set()),  # runs in users' servers
    "exchange.address": Room({"exchange"}, {"requests"}),
    "exchange.archives": Room({"exchange", "protocol", "errors"}, {"requests", "urllib3"}),
    "exchange.connection": Room({"exchange"}, {"requests"}),
    "exchange.failures": Room(set(), {"requests", "urllib3"}),
    "exchange.commands": Room({"exchange", "protocol", "errors"}, {"nbgrader"}),
    "exchange.commands.nbgrader_config": Room(set(), {"traitlets", "jupyter_core"}),
    "exchange.commands.doctor": Room(
        {"exchange", "protocol", "__init__"}, {"requests", "jupyter_core"}
    ),
    "exchange.server_extension": Room(
        {"exchange", "protocol"}, {"nbgrader", "jupyter_server", "tornado", "traitlets"}
    ),
    "exchange.progress": Room(set(), {"tqdm"}),
    "exchange.plugin": Room(
        {"exchange", "protocol", "errors"}, {"nbgrader", "traitlets", "jupyter_core"}
    ),
    "blobs": Room({"blobs", *BOTTOM}, set()),
    "db": Room({"db", *BOTTOM}, {"sqlalchemy"}),
    "db.models": Room(set(), {"sqlalchemy"}),
    "db.migrate": Room({"db", *BOTTOM}, {"sqlalchemy", "alembic"}),
    "db.legacy06": Room({"db.legacy06"}, set()),  # frozen, like the revision it belongs to
    "actions": Room({"actions", "db.models", "blobs", "protocol", "errors"}, {"sqlalchemy"}),
    "actions.access": Room({"db.models", "errors"}, {"sqlalchemy"}),
    "actions.receipts": Room(
        {"actions", "db.models", "blobs", "protocol", "errors"}, {"sqlalchemy", "cryptography"}
    ),
    "admin": Room({"admin", "actions", *DATABASE}, {"sqlalchemy"}),
    "web": Room({"web", *ACTIONS, "__init__"}, {"tornado"}),
    "web.base": Room({"web", *ACTIONS}, {"tornado", "jupyterhub"}),
    "web.uploads": Room({"web", *ACTIONS}, {"msgspec", "pybase64"}),
    "web.downloads": Room({"web", *ACTIONS}, {"pybase64"}),
    "web.api": Room({"web", "actions", "protocol", "errors"}, set()),
    "web.api.overview": Room({"web", "actions", "protocol", "__init__"}, set()),
    "web.api.file_parts": Room({"web", "actions", "blobs", "protocol", "errors"}, set()),
    "web.api.health": Room({"web", "errors"}, {"prometheus_client"}),
    "web.auth": Room({"web", "errors"}, {"jupyterhub", "tornado", "traitlets", "cryptography"}),
    "web.bodies": Room({"web", "protocol", "errors"}, {"tornado", "multipart"}),
    "web.monitoring": Room({"web", *ACTIONS, "__init__"}, {"tornado", "prometheus_client"}),
    "web.pages": Room({"web", "actions", "errors", "__init__"}, {"tornado", "jupyterhub"}),
    "runtime": Room(
        {"runtime", "web", *DATABASE, "__init__"},
        {"tornado", "traitlets", "sqlalchemy", "prometheus_client"},
    ),
    "app": Room(
        {"runtime", "web", "exchange.commands", *DATABASE, "__init__"},
        {"traitlets", "sqlalchemy"},
    ),
    "commands": Room(
        {"commands", "app", "admin", "actions", *DATABASE}, {"traitlets", "sqlalchemy"}
    ),
}
"""What may be imported where; the longest name that fits counts. Imports go downward."""


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imported(path: Path) -> set[str]:
    """The modules that a file imports by their whole names, the standard library's left out."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                below = PACKAGE.parent / whole.replace(".", "/")
                is_module = below.is_dir() or below.with_suffix(".py").exists()
                found.add(whole if is_module else node.module)
    return {name for name in found if name.partition(".")[0] not in sys.stdlib_module_names}


def room_of(path: Path) -> Room:
    name = name_of(path)
    return ROOMS[max((key for key in ROOMS if within(name, key)), key=len)]


FILES = sorted(PACKAGE.rglob("*.py"), key=str)


@pytest.mark.parametrize("path", FILES, ids=[name_of(path) for path in FILES])
def test_imports_only_what_is_below(path: Path) -> None:
    room = room_of(path)
    for other in imported(path):
        package, _, name = other.partition(".")
        if package == "ngshare":
            allowed = any(within(name or "__init__", key) for key in room.ngshare)
        else:
            allowed = package in room.third_party
        assert allowed, f"{name_of(path)} must not import {other}"


@pytest.mark.parametrize("room", ROOMS)
def test_every_rule_is_needed(room: str) -> None:
    """A package that a room may import and does not is a rule that nobody would miss."""
    used = {
        other.partition(".")[0]
        for path in FILES
        if room_of(path) is ROOMS[room]
        for other in imported(path)
    }
    assert used >= ROOMS[room].third_party


def test_only_the_application_joins_the_runtime() -> None:
    joins = {name_of(path) for path in FILES if any("ngshare.runtime" in o for o in imported(path))}
    assert {name for name in joins if not within(name, "runtime")} == {"app"}


KNOW_LOCAL_BLOBS = ("app", "blobs", "runtime.checks")
"""What may name the blob store on a local disk: it is made there."""


@pytest.mark.parametrize("path", FILES, ids=[name_of(path) for path in FILES])
def test_an_object_store_can_stand_in_the_place_of_the_local_one(path: Path) -> None:
    name = name_of(path)
    if not any(within(name, known) for known in KNOW_LOCAL_BLOBS):
        assert "LocalBlobs" not in path.read_text(), f"{name} must not know LocalBlobs"
        assert not any(other.startswith("ngshare.blobs.local") for other in imported(path)), name


def within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def test_alembic_folder_does_not_shadow_the_library() -> None:
    assert not (PACKAGE.parent / "alembic" / "__init__.py").exists()
