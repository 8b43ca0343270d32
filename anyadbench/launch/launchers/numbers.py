"""Numbers among a launcher's settings: each has a unit and a finite range."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from anyadbench.errors import UserError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Number:
    """What a setting may be.

    Attributes:
        unit: What it counts.
        low: Smallest value.
        high: Largest value, beyond anything that a cluster has.
        whole: Whether it is a whole number.
    """

    unit: str
    low: float
    high: float
    whole: bool = True

    def parse(self, name: str, text: str) -> float:
        """Return a setting as a number; an ``int`` where it is whole.

        Raises:
            UserError: If it is none, or out of range; it names setting, range and unit.
        """
        try:
            value = int(text) if self.whole else float(text)
        except ValueError:
            value = math.nan
        return self.checked(name, text, value)

    def checked(self, name: str, text: str, value: float) -> float:
        """Return the value of a setting, if it is in range; ``text`` is what was given."""
        if not self.low <= value <= self.high:  # not a number is in no range
            raise UserError(f"--launcher-option {name}={text} is out of range; give {self.range}.")
        return value

    @property
    def range(self) -> str:
        """The range in words."""
        return f"{'a whole' if self.whole else 'a'} number of {self.unit} from {self.low:,.10g} to {self.high:,.10g}"


@dataclass(frozen=True)
class Minutes(Number):
    """A time as a whole number of minutes, with a unit (``90m``, ``2h``), or as ``hours:minutes:seconds``."""

    def parse(self, name: str, text: str) -> float:
        """Return a time in minutes, rounded up; raises as ``Number.parse``."""
        unit, clock = re.fullmatch(r"(\d{1,12})([smhd])", text), re.fullmatch(r"(?:(\d+)-)?(\d+):(\d\d):(\d\d)", text)
        seconds = None
        if unit is not None:
            seconds = int(unit[1]) * _SECONDS[unit[2]]
        elif clock is not None and all(len(part or "") <= 12 for part in clock.groups()):
            days, hours, minutes, rest = (int(part or 0) for part in clock.groups())
            seconds = days * 86400 + hours * 3600 + minutes * 60 + rest
        return super().parse(name, text) if seconds is None else self.checked(name, text, math.ceil(seconds / 60))

    @property
    def range(self) -> str:
        """The range in words."""
        return f"{super().range}, or a time such as 90m, 2h or 2:00:00"
