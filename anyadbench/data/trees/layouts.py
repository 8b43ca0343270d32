"""Data-set layouts: how each release names its files, what its labels mean, and where to get it.

A layout is one table entry; ``LAYOUTS`` holds the built-in ones, of which ``anyadbench.data.trees.sets`` has one module
for each family, and a plugin adds its own through the hook ``anyadbench_layouts``. The facts describe the releases as
distributed, quirks included.
"""

from __future__ import annotations

from collections.abc import Sequence

from anyadbench.data.trees.sets.bids import BIDS
from anyadbench.data.trees.sets.brats import PHANTOMS, TUMOURS
from anyadbench.data.trees.sets.healthy import HEALTHY
from anyadbench.data.trees.sets.layout import FOUR_D, READERS, REGIONS, SEGMENTATION, SKIP, Layout, NamedReader
from anyadbench.data.trees.sets.sclerosis import SCLEROSIS
from anyadbench.data.trees.sets.slices import SLICES
from anyadbench.data.trees.sets.vascular import VASCULAR
from anyadbench.errors import UserError, suggest

__all__ = [
    "FOUR_D",
    "LAYOUTS",
    "READERS",
    "REGIONS",
    "SEGMENTATION",
    "SKIP",
    "Layout",
    "NamedReader",
    "get_layout",
]

_ENTRIES = (*TUMOURS, *SCLEROSIS, *VASCULAR, *HEALTHY, *PHANTOMS, *SLICES, *BIDS)

LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in _ENTRIES}
"""The built-in layouts by name; where names of files fit several, the first one is meant."""


def get_layout(name: str, more: Sequence[Layout] = ()) -> Layout:
    """Return a layout by name, from the built-in ones and ``more``.

    Raises:
        UserError: If no layout has that name.
    """
    table = {layout.name: layout for layout in (*LAYOUTS.values(), *more)}
    if name not in table:
        raise UserError(f"Unknown data set {name!r}.{suggest(name, list(table))}")
    return table[name]
