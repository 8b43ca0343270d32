"""The phantoms that are built in as data sets."""

from __future__ import annotations

from anyadbench.data.phantom.spec import PhantomSpec

EMBEDDED: dict[str, PhantomSpec] = {
    "phantom": PhantomSpec(healthy=60),
    # Other seeds, so that no head is in two of them.
    "phantom-shift": PhantomSpec("phantom-shift", subjects=24, seed=1, shift=True, healthy=20),
    "phantom-dev": PhantomSpec("phantom-dev", subjects=48, seed=2, healthy=36),
}
"""Specification of each embedded data set by name; none needs a folder."""
