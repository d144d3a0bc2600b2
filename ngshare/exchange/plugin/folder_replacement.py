"""Replace a folder by another, so that an interruption at any moment loses neither.

A file system cannot exchange two folders in one step everywhere. The old folder is first moved to
``.ngshare-replaced`` beside it, where :func:`finish_replacement` finds it after an interruption.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

_REPLACED = ".ngshare-replaced"


def replace_folder(folder: Path, destination: Path) -> None:
    """Move ``folder`` to ``destination``, and then remove the folder that was there.

    Both are on the same file system. If the move fails, ``destination`` is as before. Raises
    OSError.
    """
    finish_replacement(destination)
    replaced = _replaced(destination)
    if destination.exists():
        replaced.parent.mkdir(exist_ok=True)
        destination.rename(replaced)
    try:
        folder.rename(destination)
    finally:
        finish_replacement(destination)


def finish_replacement(destination: Path) -> None:
    """Undo or complete a replacement of ``destination`` that was interrupted. Raises OSError."""
    replaced = _replaced(destination)
    if replaced.exists():
        if destination.exists():
            shutil.rmtree(replaced)
        else:
            replaced.rename(destination)
    with contextlib.suppress(OSError):  # it does not exist, or has folders of other assignments
        replaced.parent.rmdir()


def _replaced(destination: Path) -> Path:
    """Return the place of the old folder while the new one is moved to ``destination``."""
    return destination.parent / _REPLACED / destination.name
