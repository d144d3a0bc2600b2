"""The user's server and its terminals find the commands of its environment."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

SHELLS = ("bash", "dash", "ksh", "sh", "zsh")
"""Shells that understand the command of :func:`shell_command`."""


def keep_commands_on_path(server: ServerApp) -> None:
    """Put the folder of this environment's commands on ``PATH``, and let terminals keep it there.

    nbgrader itself runs one of them, ``alembic``, when it creates a gradebook. Jupyter starts a
    login shell unless the server itself has a terminal, and the profile of many systems resets
    ``PATH``. A shell that the configuration names is left alone.
    """
    folder = sysconfig.get_path("scripts")
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    if folder not in path:
        os.environ["PATH"] = os.pathsep.join([*path, folder])
    if sys.stdout.isatty() or server.terminado_settings.get("shell_command") is not None:
        return
    shell = os.environ.get("SHELL") or shutil.which("sh")
    if shell and Path(shell).name in SHELLS:
        command = shell_command(shell, folder)
        server.terminado_settings = {**server.terminado_settings, "shell_command": command}


def shell_command(shell: str, folder: str) -> list[str]:
    """Return a command that starts a login shell with ``folder`` on its ``PATH``."""
    folder, program = shlex.quote(folder), shlex.quote(shell)
    script = (
        f'case ":$PATH:" in *:{folder}:*) ;; *) PATH={folder}:$PATH; export PATH ;; esac; '
        f"exec {program}"
    )
    return [shell, "-l", "-c", script]
