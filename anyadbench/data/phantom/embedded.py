"""The phantoms that are built in as data sets."""

from __future__ import annotations

from dataclasses import replace

from anyadbench.data.phantom.spec import PhantomSpec

EMBEDDED: dict[str, PhantomSpec] = {
    "phantom": PhantomSpec(healthy=100),
    # Other seeds, so that no head is in two of them.
    "phantom-shift": PhantomSpec("phantom-shift", subjects=24, seed=1, shift=True, healthy=40),
    "phantom-dev": PhantomSpec("phantom-dev", subjects=48, seed=2, healthy=50),
}
"""Specification of each embedded data set by name; none needs a folder.

Heads of seed 0 were looked at while contrasts were set, so no data set has it.
"""


def embedded(name: str, healthy: bool) -> PhantomSpec:
    """Return the specification of an embedded data set, with its healthy subjects or without, which is faster to make.

    The patients are the same either way.
    """
    return EMBEDDED[name] if healthy else replace(EMBEDDED[name], healthy=0)
