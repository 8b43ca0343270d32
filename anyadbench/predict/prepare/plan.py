"""Which steps of preparation a user asks for."""

from __future__ import annotations

from dataclasses import dataclass

from anyadbench.errors import UserError

STEPS = ("register", "strip", "bias")
"""Rigid registration to the first input, brain extraction, and N4 bias-field correction."""

WORDS = ("none", "auto", "all", *STEPS)


@dataclass(frozen=True)
class Plan:
    """Steps of preparation.

    Attributes:
        steps: Steps that are done for every scan that can take them.
        auto: Whether registration and extraction are done where a scan needs them.
    """

    steps: frozenset[str] = frozenset()
    auto: bool = False

    @property
    def idle(self) -> bool:
        """Whether scans are only checked."""
        return not self.steps and not self.auto

    def __str__(self) -> str:
        words = [*(["auto"] if self.auto else []), *(step for step in STEPS if step in self.steps)]
        return ",".join(words) or "none"


NOTHING = Plan()


def parse_plan(text: str | Plan) -> Plan:
    """Read ``none``, ``auto``, ``all`` (``register,strip``), or a list of steps such as ``auto,bias``.

    Bias-field correction is never part of ``auto`` or ``all``: no built-in protocol trains on corrected scans.

    Raises:
        UserError: If a word is unknown, or ``none`` is given with another.
    """
    if isinstance(text, Plan):
        return text
    words = [word.strip().lower() for word in text.split(",")]
    unknown = [word for word in words if word not in WORDS]
    if unknown:
        raise UserError(
            f"--prepare {text}: {unknown[0]!r} is no step; give {', '.join(WORDS)}, or several with commas."
        )
    if "none" in words and len(set(words)) > 1:
        raise UserError(f"--prepare {text}: none excludes every step; leave it or the others out.")
    steps = {word for word in words if word in STEPS} | ({"register", "strip"} if "all" in words else set())
    return Plan(frozenset(steps), "auto" in words)
