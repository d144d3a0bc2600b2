"""Tell which user names can hardly be those of a JupyterHub's users, and which look alike.

Names are compared exactly everywhere else, as the protocol of ngshare 0.6 wants it.
"""

from __future__ import annotations

import unicodedata

_INVISIBLE = frozenset({"Cf", "Zl", "Zp"})
"""Unicode's categories of characters that show nothing: zero-width blanks, direction marks."""


def name_warnings(name: str) -> list[str]:
    """Return why ``name`` may be the name of no user, each as a phrase that follows the name.

    With its defaults JupyterHub makes names lower-case and refuses blanks around them; its
    services, here ``service:NAME``, keep their capitals. The other two are typing errors that
    cannot be seen.
    """
    found = []
    if name != name.strip():
        found.append("begins or ends with a blank")
    hidden = dict.fromkeys(each for each in name if unicodedata.category(each) in _INVISIBLE)
    if hidden:
        codes = ", ".join(f"U+{ord(each):04X}" for each in hidden)
        found.append(f"has invisible characters ({codes})")
    if not unicodedata.is_normalized("NFC", name):
        found.append("is not in Unicode's normal form NFC")
    if name != name.lower() and not name.startswith("service:"):
        found.append("has capitals, and JupyterHub makes names lower-case by default")
    return found


def name_key(name: str) -> str:
    """Return a key that is equal for names that differ only in blanks, case or Unicode form."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    visible = "".join(each for each in folded if unicodedata.category(each) not in _INVISIBLE)
    return " ".join(unicodedata.normalize("NFKC", visible).split())
