"""Find usernames that are unlikely to exist on a JupyterHub, and names that look alike.

Everywhere else names are compared exactly, as the protocol of ngshare 0.6 requires.
"""

from __future__ import annotations

import unicodedata

_INVISIBLE = frozenset({"Cf", "Zl", "Zp"})
"""Unicode categories of invisible characters: zero-width blanks, direction marks."""


def name_warnings(name: str) -> list[str]:
    """Return the reasons why a name is unlikely to match a user, as phrases that follow the name.

    By default JupyterHub makes names lower-case and refuses blanks around them. Services of the
    Hub, here named ``service:NAME``, keep their capitals. Invisible characters and other Unicode
    forms are typing errors that cannot be seen.
    """
    warnings = []
    if name != name.strip():
        warnings.append("begins or ends with a blank")
    hidden = dict.fromkeys(char for char in name if unicodedata.category(char) in _INVISIBLE)
    if hidden:
        codes = ", ".join(f"U+{ord(char):04X}" for char in hidden)
        warnings.append(f"has invisible characters ({codes})")
    if not unicodedata.is_normalized("NFC", name):
        warnings.append("is not in Unicode's normal form NFC")
    if name != name.lower() and not name.startswith("service:"):
        warnings.append("has capitals, and JupyterHub makes names lower-case by default")
    return warnings


def lookalike_key(name: str) -> str:
    """Return a key that is the same for names that differ only in blanks, case or Unicode form."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    visible = "".join(char for char in folded if unicodedata.category(char) not in _INVISIBLE)
    return " ".join(unicodedata.normalize("NFKC", visible).split())
