"""Names of files that every system can unpack, whatever students called theirs."""

from __future__ import annotations

import hashlib
import re
import unicodedata

LENGTH = 100
"""The longest part of a path, in UTF-8 bytes: four of them must fit into Windows' 260."""

_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)")


def safe_part(name: str) -> str:
    """One part of a path, as all of Linux, macOS and Windows can have it."""
    safe = _UNSAFE.sub("_", unicodedata.normalize("NFC", name)).rstrip(". ")
    if _RESERVED.match(safe) or not safe:
        safe = f"_{safe}"
    if len(safe.encode()) <= LENGTH:
        return safe
    stem, dot, ending = safe.rpartition(".")
    ending = dot + ending if stem and len(ending.encode()) <= 10 else ""
    mark = "~" + hashlib.sha256(name.encode()).hexdigest()[:8] + ending
    return safe.encode()[: LENGTH - len(mark.encode())].decode(errors="ignore") + mark


class Names:
    """Safe paths for the paths of one tree, of which no two become the same.

    Also not on a system to which ``A`` and ``a`` are one name.
    """

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], str] = {}
        self._taken: set[tuple[str, str]] = set()

    def path(self, path: str) -> str:
        """The safe path for this one, the same each time."""
        folder = ""
        for part in path.split("/"):
            folder += self._part(folder, part) + "/"
        return folder[:-1]

    def _part(self, folder: str, part: str) -> str:
        if (folder, part) not in self._given:
            safe, number = safe_part(part), 1
            while (folder, safe.casefold()) in self._taken:
                number += 1
                stem, dot, ending = safe_part(part).rpartition(".")
                safe = f"{stem}~{number}.{ending}" if dot and stem else f"{ending}~{number}"
            self._taken.add((folder, safe.casefold()))
            self._given[folder, part] = safe
        return self._given[folder, part]
