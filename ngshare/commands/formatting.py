"""Format numbers for people: counts with their nouns and verbs, and sizes."""

from __future__ import annotations


def format_count(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun: ``1 file``, ``2,000 files``.

    Without ``plural``, an ``s`` is added to ``singular``. A verb may follow in both:
    ``format_count(number, "file is", "files are")``. See :func:`pluralize` where another word
    stands between noun and verb.
    """
    return f"{number:,} {pluralize(number, singular, plural or singular + 's')}"


def pluralize(number: int, singular: str, plural: str) -> str:
    """Return ``singular`` for the number one, and ``plural`` for any other."""
    return singular if number == 1 else plural


def format_size(size: int) -> str:
    """Return a number of bytes in a readable unit: ``12.3 MB``."""
    amount = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{size} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
