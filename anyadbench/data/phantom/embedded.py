"""The phantoms that are built in as data sets."""

from __future__ import annotations

from anyadbench.data.phantom.spec import PhantomSpec

EMBEDDED: dict[str, PhantomSpec] = {
    "phantom": PhantomSpec(),
    # Another seed, so that no test head was trained on.
    "phantom-shift": PhantomSpec("phantom-shift", subjects=20, seed=1, shift=True),
}
"""Specification of each embedded data set by name; none needs a folder."""
