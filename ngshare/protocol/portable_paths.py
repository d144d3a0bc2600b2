"""Portable paths for the files in an archive, valid on Linux, macOS and Windows."""

from __future__ import annotations

import hashlib
import re
import unicodedata

MAX_NAME_BYTES = 100
"""The longest file or folder name, in UTF-8 bytes: four of them must fit into Windows' 260."""

_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)")


def portable_name(name: str) -> str:
    """Return a file or folder name that is valid on every system, as close to ``name`` as can be.

    A name longer than :data:`MAX_NAME_BYTES` is cut, and marked with a hash of the whole name.
    """
    safe = _UNSAFE.sub("_", unicodedata.normalize("NFC", name)).rstrip(". ")
    if _RESERVED.match(safe) or not safe:
        safe = f"_{safe}"
    if len(safe.encode()) <= MAX_NAME_BYTES:
        return safe
    stem, dot, extension = safe.rpartition(".")
    extension = dot + extension if stem and len(extension.encode()) <= 10 else ""
    suffix = "~" + hashlib.sha256(name.encode()).hexdigest()[:8] + extension
    return safe.encode()[: MAX_NAME_BYTES - len(suffix.encode())].decode(errors="ignore") + suffix


class PortablePaths:
    """A mapping of the paths in one tree to portable paths, without collisions.

    Portable paths differ in more than upper and lower case, because some file systems ignore it.
    """

    def __init__(self) -> None:
        self._assigned: dict[tuple[str, str], str] = {}
        self._taken: set[tuple[str, str]] = set()

    def reserve(self, name: str) -> None:
        """Map no path to this name at the top of the archive."""
        self._taken.add(("", name.casefold()))

    def path(self, path: str) -> str:
        """Return the portable path for ``path``; the same one on every call."""
        folder = ""
        for name in path.split("/"):
            folder += self._unique_name(folder, name) + "/"
        return folder[:-1]

    def _unique_name(self, folder: str, name: str) -> str:
        """Return the portable name for ``name``, unique within ``folder``."""
        if (folder, name) not in self._assigned:
            safe, number = portable_name(name), 1
            while (folder, safe.casefold()) in self._taken:
                number += 1
                stem, dot, extension = portable_name(name).rpartition(".")
                safe = f"{stem}~{number}.{extension}" if dot and stem else f"{extension}~{number}"
            self._taken.add((folder, safe.casefold()))
            self._assigned[folder, name] = safe
        return self._assigned[folder, name]
