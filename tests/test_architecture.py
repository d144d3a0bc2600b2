"""Imports go one way, downward, as docs/code.md says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import ngshare

PACKAGE = Path(ngshare.__file__).parent

ALLOWED: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"app"},
    "errors": set(),
    "wire": {"errors"},
    "usernames": set(),
    "models": set(),
    "hub": set(),
    "logs": set(),
    "metrics": {"__init__"},
    "workers": set(),
    "launcher": set(),
    "postgres": set(),
    "sqlite": set(),
    "outage": set(),
    "database": {"postgres", "sqlite", "outage", "errors"},
    "help": set(),
    "blobs": {"blobs", "files", "errors"},
    "progress": set(),
    "files": set(),
    "snapshots": {"files"},
    # Frozen, as the revision that it belongs to.
    "adoption": {"adoption"},
    "upgrade_lock": {"files"},
    "service_lock": {"files"},
    "migrate": {"database", "snapshots", "upgrade_lock", "progress"},
    "revert": {"migrate", "snapshots", "upgrade_lock", "service_lock"},
    "actions.access": {"models", "errors"},
    # They take many transactions and a long time, so they begin and end them themselves.
    "actions.transfer": {"models", "database"},
    "actions.storage": {"actions", "models", "blobs", "database", "errors", "snapshots"},
    "actions.legacy": {"actions", "models", "blobs", "database", "errors"},
    "actions.backup": {
        *("actions", "models", "blobs", "database", "errors", "files", "migrate", "snapshots"),
        "wire",
    },
    "actions.restore": {"actions", "blobs", "database", "migrate", "snapshots"},
    "actions": {"actions", "models", "blobs", "usernames", "wire", "errors"},
    "web.auth": {"web", "errors", "metrics"},  # it counts lookups at the Hub
    "web.forms": {"web.json_stream", "errors", "wire"},
    "web.service": {"web", "actions", "blobs", "database", "metrics", "errors"},
    "web.base": {"web", "actions", "database", "logs", "wire", "errors"},
    "web.uploads": {"web", "actions", "blobs", "database", "wire", "errors"},
    "web.downloads": {"web", "actions", "blobs", "wire", "errors"},
    "web.application": {"web", "logs"},
    "web.counted": {"blobs", "errors", "metrics"},
    "web.readiness": {"actions", "blobs", "database", "migrate"},
    "web.pages": {"web", "actions", "errors", "__init__"},
    # Whatever else is here is a thin handler, or a part that knows only the wire.
    "web": {"web", "actions", "wire", "errors"},
    "commands": {
        "commands",
        "files",
        "app",
        "startup",
        "actions",
        "migrate",
        "revert",
        "service_lock",
        "snapshots",
        "blobs",
        "database",
        "progress",
        "wire",
        "errors",
        "help",
    },
    "startup": {"blobs", "database", "files", "migrate"},
    "serving": {"web"},
    "commandline": {"startup"},
    "announcement": {"database", "__init__"},
    "app": {
        "web",
        "migrate",
        "blobs",
        "database",
        "service_lock",
        "workers",
        "launcher",
        "logs",
        "metrics",
        "startup",
        "serving",
        "commandline",
        "announcement",
        "help",
        "wire",
        "errors",
        "__init__",
    },
}
"""What each module or package may import of ngshare; the longest name that fits counts.

A package stands for all that is in it.
"""


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imported(path: Path) -> set[str]:
    """The ngshare modules that a file imports, as names below the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            if node.module == "ngshare":
                for alias in node.names:
                    below = PACKAGE / alias.name
                    is_module = below.is_dir() or below.with_suffix(".py").exists()
                    found.add(f"ngshare.{alias.name if is_module else '__init__'}")
            else:
                found.add(node.module or "")
    return {name.removeprefix("ngshare.") for name in found if name.startswith("ngshare")}


FILES = sorted(PACKAGE.rglob("*.py"), key=str)


@pytest.mark.parametrize("path", FILES, ids=[name_of(path) for path in FILES])
def test_imports_only_what_is_below(path: Path) -> None:
    name = name_of(path)
    rule = max((key for key in ALLOWED if within(name, key)), key=len)
    for other in imported(path):
        allowed = any(within(other, key) for key in ALLOWED[rule])
        assert allowed, f"{name} must not import {other}"


KNOW_LOCAL_BLOBS = ("app", "blobs", "startup")
"""What may name the blob store on a local disk: it is made there."""


@pytest.mark.parametrize("path", FILES, ids=[name_of(path) for path in FILES])
def test_an_object_store_can_stand_in_the_place_of_the_local_one(path: Path) -> None:
    name = name_of(path)
    if not any(within(name, known) for known in KNOW_LOCAL_BLOBS):
        assert "LocalBlobs" not in path.read_text(), f"{name} must not know LocalBlobs"
        assert not any(other.startswith("blobs.local") for other in imported(path)), name


def within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def test_alembic_folder_does_not_shadow_the_library() -> None:
    assert not (PACKAGE.parent / "alembic" / "__init__.py").exists()
