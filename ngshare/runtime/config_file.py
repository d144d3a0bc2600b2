"""Read the configuration file, and write one that shows every setting."""

from __future__ import annotations

import os

from traitlets.config import Application

from ngshare.errors import StartError

DEFAULT_CONFIG_FILE = "ngshare_config.py"


def load_config_file(app: Application, path: str) -> None:
    """Load the settings of a configuration file into ``app``.

    Raises StartError when the file is missing, unless it is ``DEFAULT_CONFIG_FILE``, and when
    it is invalid.
    """
    if not os.path.exists(path):
        if path == DEFAULT_CONFIG_FILE:
            return
        raise StartError(f"there is no configuration file {path}")
    if os.path.splitext(path)[1] not in (".py", ".json"):
        raise StartError(f"the configuration file {path} must be named *.py or *.json")
    # By default, traitlets would log an error and go on without the settings.
    app.raise_config_file_errors = True
    try:
        app.load_config_file(os.path.abspath(path))
    except StartError as error:
        raise StartError(f"{path}: {error}") from error
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise StartError(f"the configuration file {path} does not work: {reason}") from error


def write_config_file(path: str, content: str) -> None:
    """Create a configuration file, and print its path. Raises StartError when it exists."""
    if os.path.exists(path):
        raise StartError(f"{path} exists already; move it away first")
    try:
        with open(path, "x", encoding="utf8") as file:
            file.write(content)
    except OSError as error:
        raise StartError(
            f"{path} cannot be written ({error.strerror}): name another file with --config"
        ) from error
    print(f"Wrote {path}")
