"""``make hub``: the example of a jupyterhub_config.py says in one line why it cannot start."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = Path(__file__).parents[1] / "docs" / "examples" / "jupyterhub_config.py"
RUN = "import runpy, sys, traitlets.config as t; runpy.run_path(sys.argv[1], t.__dict__)"


def run_config(port: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the file as the Hub does, which gives it ``get_config``."""
    return subprocess.run(
        [sys.executable, "-c", RUN, str(CONFIG)],
        env={**os.environ, "NGSHARE_HUB_PORT": port, "NGSHARE_HUB_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("port", ["eighty", "0", "63435", "80 10", "-8000", "8000.5"])
def test_what_is_no_port_is_refused(port: str, tmp_path: Path) -> None:
    result = run_config(port, tmp_path / "hub")
    expected = f"HUB_PORT={port} is not a port; choose a number from 1 to 63434\n"
    assert (result.returncode, result.stderr) == (1, expected)
    assert not (tmp_path / "hub").exists()


def test_a_port_that_another_program_uses_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        result = run_config(str(taken), tmp_path / "hub")
    ports = ", ".join(str(taken + offset) for offset in (0, 1, 81, 2101))
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith(f"Port {taken} cannot be used: Address already in use.")
    assert f"takes the ports {ports};" in line
