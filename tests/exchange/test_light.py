"""What an import of the plugin loads in a user's server."""

from __future__ import annotations

import subprocess
import sys

import pytest

SERVICE = (
    *("sqlalchemy", "alembic", "tornado", "jupyterhub", "msgspec", "pybase64"),
    *("ngshare.db", "ngshare.web", "ngshare.actions", "ngshare.admin", "ngshare.blobs"),
    *("ngshare.app", "ngshare.runtime", "ngshare.commands"),
)


def loaded(statement: str) -> set[str]:
    """Return the modules of a fresh process after a statement."""
    program = f"{statement}; import sys; print('\\n'.join(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return set(run.stdout.split())


@pytest.mark.parametrize("module", ["client", "connection", "address", "local_trees"])
def test_the_client_loads_nothing_of_the_service(module: str) -> None:
    modules = loaded(f"import ngshare.exchange.{module}")
    assert f"ngshare.exchange.{module}" in modules
    assert modules.isdisjoint({*SERVICE, "nbgrader", "traitlets"})


def test_the_configuration_of_nbgrader_loads_nothing_but_this_package() -> None:
    modules = loaded(
        "from ngshare.exchange import configure_exchange; from unittest.mock import MagicMock; "
        "configure_exchange(MagicMock(), 'http://hub')"
    )
    assert modules.isdisjoint({*SERVICE, "nbgrader", "traitlets", "requests", "tqdm"})
    assert {name for name in modules if name.startswith("ngshare")} == {
        "ngshare",
        "ngshare.exchange",
    }
