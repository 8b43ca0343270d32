"""Entry points of installed distributions, read without importing any of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions

METHODS_GROUP = "anyadbench.methods"
HOOKS_GROUP = "anyadbench"


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that cannot be used, with the reason and the fix."""

    name: str
    distribution: str
    reason: str

    @property
    def message(self) -> str:
        """One sentence with cause and fix."""
        return f"Plugin {self.name!r} of {self.distribution} cannot be used: {self.reason}"


def entry_points(group: str) -> Iterator[tuple[Distribution, EntryPoint]]:
    """Yield every entry point of a group with its distribution."""
    # importlib.metadata.entry_points() merges distributions by name; iterating over the distributions keeps both
    # sides of a conflict visible. A distribution that is found twice on the path counts once.
    seen: set[str] = set()
    for distribution in distributions():
        name = distribution.metadata["Name"]
        if not name or name in seen:
            continue
        seen.add(name)
        for entry_point in distribution.entry_points:
            if entry_point.group == group:
                yield distribution, entry_point


def normal_name(name: str) -> str:
    """Return a distribution's name as packaging compares it: lower case, ``-``, ``_`` and ``.`` alike (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
