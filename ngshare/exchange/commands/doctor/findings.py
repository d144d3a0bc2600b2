"""What a check of ``ngshare doctor`` reports: a finding, printed as one line."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """The result of a check. A note is no mistake, but somebody may wonder about it."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. ``message`` says what is so, and what to do if that is wrong."""

    check: str
    state: State
    message: str

    def __str__(self) -> str:
        return f"{self.state.value:<6} {self.check:<13} {' '.join(self.message.split())}"


def ok(check: str, message: str) -> Finding:
    """Return the finding of a check that passed."""
    return Finding(check, State.OK, message)


def note(check: str, message: str) -> Finding:
    """Return a finding that is no mistake."""
    return Finding(check, State.NOTE, message)


def wrong(check: str, message: str) -> Finding:
    """Return the finding of a mistake."""
    return Finding(check, State.WRONG, message)
