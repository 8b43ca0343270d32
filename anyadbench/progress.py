"""How long work reports how far it is, and how estimates of the time left come from that."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Progress = Callable[[int, int, str], None]
"""Called with the number of finished items, the number of all, and what is being done."""

ENOUGH = 2.0
"""Seconds of a phase before its speed is an estimate: the first items also load libraries and compile."""


@dataclass
class Pace:
    """The speed of one phase, from what was done since it was first seen.

    Items that were done before, by an interrupted run, say nothing about the speed and do not count.

    Attributes:
        first: Items that were done when the phase was first seen.
        began: Time at which that was, in seconds.
        done: Items that are done.
        total: All items; 0 if unknown.
        now: Time of the last report.
    """

    first: int
    began: float
    done: int
    total: int
    now: float

    def left(self, now: float | None = None) -> float | None:
        """Return the seconds left at a time (by default, that of the last report), ``None`` if nothing is known yet."""
        new, spent = self.done - self.first, self.now - self.began
        if new <= 0 or spent < ENOUGH or self.done >= self.total:
            return None
        since = max(0.0, (now if now is not None else self.now) - self.now)
        return max(0.0, spent / new * (self.total - self.done) - since)


def pace_of(record: Mapping[str, object]) -> Pace | None:
    """Return the pace in the record that a worker keeps; ``None`` if it is damaged."""
    numbers = [record.get(name) for name in ("first", "began", "done", "total", "time")]
    if any(isinstance(x, bool) or not isinstance(x, int | float) or not math.isfinite(x) for x in numbers):
        return None
    first, began, done, total, now = (float(x) for x in numbers if isinstance(x, int | float))
    return Pace(int(first), began, int(done), int(total), now)


def about(seconds: float | None) -> str:
    """Return a time left in words, such as ``about 12 min left``; empty if it is unknown."""
    if seconds is None:
        return ""
    if seconds < 5:
        return "a few seconds left"
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"about {minutes} min left"
    hours, minutes = divmod(minutes, 60)
    return f"about {hours} h {minutes} min left" if hours < 10 else f"about {hours} h left"
