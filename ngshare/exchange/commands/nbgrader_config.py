"""Read nbgrader's configuration as nbgrader itself does, without an import of nbgrader.

Importing nbgrader takes seconds, and a configuration file with an error must not stop a command
that can say which file and what error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_core.application import JupyterApp
from traitlets.config import Config
from traitlets.config.loader import JSONFileConfigLoader, PyFileConfigLoader

CONFIG_NAME = "nbgrader_config"


@dataclass(slots=True)
class NbgraderConfig:
    """The configuration of nbgrader in the current folder.

    files: those that were read, the strongest last. errors: what those raised that cannot be read.
    """

    config: Config = field(default_factory=Config)
    files: list[Path] = field(default_factory=list)
    errors: dict[Path, Exception] = field(default_factory=dict)

    def get(self, section: str, name: str) -> Any:
        """Return a setting; None when it is not set."""
        return self.config[section].get(name) if section in self.config else None

    @property
    def course_root(self) -> Path:
        """Return the course folder: that of the configuration, or the current one."""
        return Path(self.get("CourseDirectory", "root") or Path.cwd()).expanduser().absolute()

    def read_folder(self, folder: Path) -> None:
        """Read nbgrader's configuration files in a folder, which override earlier ones."""
        for suffix, loader in ((".py", PyFileConfigLoader), (".json", JSONFileConfigLoader)):
            path = folder / f"{CONFIG_NAME}{suffix}"
            if path in self.files or path in self.errors or not path.exists():
                continue
            try:
                self.config.merge(loader(path.name, path=str(folder)).load_config())
            except Exception as error:  # whatever a site wrote there
                self.errors[path] = error
            else:
                self.files.append(path)


def config_folders() -> list[Path]:
    """Return the folders where nbgrader looks for its configuration, the weakest first."""
    return [*map(Path, reversed(JupyterApp().config_file_paths)), Path.cwd()]


def read_nbgrader_config() -> NbgraderConfig:
    """Read nbgrader's configuration in the order of nbgrader: Jupyter's folders, then this one.

    The course folder comes last, which the files before it may name.
    """
    found = NbgraderConfig()
    for folder in config_folders():
        found.read_folder(folder)
    found.read_folder(found.course_root)
    return found
