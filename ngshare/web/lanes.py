"""Two lanes for transfers, small and large, and who must be fast in the large one."""

from __future__ import annotations

import time

from ngshare.web.flow import LONGEST, SLOWEST, Flow, Held, Waiting


class LargeFlow(Flow):
    """The lane of large transfers, where one fills much of the room, or all.

    It is meant so that no user alone can hold up another for as long as the other's
    patience, and that an honest student on a bad connection still gets through:

    - One user has one place. Whoever had one lately goes behind the others who wait, and
      behind all of them if it came to nothing: that cost the others a turn.
    - What takes half of the lane or less leaves the other half to everybody else, so it may
      be slow: over in LONGEST seconds while others wait, which is 40 MB at 0.6 Mbit/s.
    - What takes more than half keeps others out, so while one waits it must go at a speed at
      which all of it would be over in half of that one's patience. Nothing slower would do:
      it has its grace and is worked on besides, and then the others are told to come back.
    - Only the time in which others wait is counted, after a grace that is a small part of
      their patience; and only as many are cut off as make room, the slowest first.
    - Who waits for more room than there is lets others pass, else announcing much would stop
      everybody while one slow transfer goes on. After a third of the patience nobody passes any
      more, and if it takes more than half of the lane, all must be as fast as is said above:
      else one slow 40 MB would keep out all that is larger than the rest. As this is hard on
      the slow, each user has it once in LONGEST seconds.

    Those who are cut or refused begin anew, so cutting an equal for an equal would gain
    nothing: a class whose 40 MB all come at 1 Mbit/s goes three at a time, with the default
    settings, and is not made to cut each other off.
    """

    def __init__(self, limit: int, patience: float) -> None:
        super().__init__(limit, patience, share=0)
        # When users last had a place, later if in vain; when they last made others stand back.
        self._served: dict[str, float] = {}
        self._due: dict[str, float] = {}

    def release(self, held: Held) -> None:
        user = self._held.get(held)
        if user is not None:
            _note(self._served, user, after=0.0 if held.whole else LONGEST)
        super().release(held)

    def _in_turn(self) -> list[Waiting]:
        _forget(self._served)
        return sorted(
            self._waiting,
            key=lambda entry: (
                entry.growing is None,
                not entry.due,
                self._served.get(entry.user, 0.0) if entry.user is not None else 0.0,
            ),
        )

    def _may_be_passed(self, entry: Waiting) -> bool:
        return not entry.due

    def _cut_slow(self) -> None:
        self._make_due()
        super()._cut_slow()

    def _make_due(self) -> None:
        """Let nobody pass the first who has waited for a third of the patience."""
        _forget(self._due)
        if self._first_due() is not None:
            return
        now = time.monotonic()
        for entry in self._in_turn():
            waited = now - entry.since
            if (
                waited >= self.patience / 3
                and entry.user is not None
                and entry.user not in self._due
                and self._served.get(entry.user, 0.0) <= now  # the last was not in vain
                and self._has_share(entry)
            ):
                entry.due = True
                _note(self._due, entry.user)
                return

    def _first_due(self) -> Waiting | None:
        return next(
            (entry for entry in self._waiting if entry.due and self._has_share(entry)), None
        )

    def _too_slow(self) -> list[Held]:
        slow = [held for held in self._held if held.slower(SLOWEST)]
        first = self._first_due() or self._kept_out()
        if first is None:
            return slow
        hard = first.due and self._is_half(first.size)
        candidates = sorted(
            (held for held in self._held if held not in slow and self._holds_up(held, hard)),
            key=lambda held: held.moved / held.size,
        )
        freed = sum(held.size for held in slow)
        for held in candidates:
            if self.used - freed == 0 or self.used - freed + first.size <= self.limit:
                break
            slow.append(held)
            freed += held.size
        return slow

    def _holds_up(self, held: Held, hard: bool) -> bool:
        if hard or self._is_half(held.size):
            speed, grace = held.size / (self.patience / 2), self.patience / 6
        else:
            speed, grace = held.size / LONGEST, self.patience / 3
        return held.slower_since_wanted(max(SLOWEST, speed), grace)

    def _is_half(self, size: int) -> bool:
        """Whether so many bytes are more than half of the lane."""
        return size > self.limit // 2


class Lanes:
    """Half of ``limit`` for large transfers, half for the others, which these cannot hold up.

    Large is what takes more than an eighth of it, which is also the share of one user
    among the others.
    """

    def __init__(self, limit: int, patience: float) -> None:
        self.share = max(1, limit // 8)
        self.small = Flow(limit // 2, patience, self.share)
        self.large = LargeFlow(limit // 2, patience)

    def of(self, size: int) -> Flow:
        """Where a transfer of so many bytes goes."""
        return self.large if size > self.share else self.small


def _note(times: dict[str, float], user: str, after: float = 0.0) -> None:
    times.pop(user, None)
    times[user] = time.monotonic() + after


def _forget(times: dict[str, float]) -> None:
    """Forget what is longer ago than LONGEST."""
    oldest = time.monotonic() - LONGEST
    while times and next(iter(times.values())) < oldest:
        del times[next(iter(times))]
