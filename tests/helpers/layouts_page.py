"""The table of all data sets in ``docs/datasets.md``."""

from __future__ import annotations

from anyadbench.data.trees.layouts import LAYOUTS, Layout


def row(layout: Layout) -> str:
    """Return a data set's line: name and title, sequences, where and on what terms, and what to know."""
    sequences = ", ".join(f"`{name}`" for name in layout.expected) or "—"
    cells = (f"**`{layout.name}`**<br>{layout.title}", sequences, f"{layout.where}<br>*{layout.licence}*", layout.notes)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table() -> str:
    """Return the whole table, in the order of the layouts."""
    head = "| data set | sequences | where, *licence* | what to know |\n| --- | --- | --- | --- |\n"
    return head + "".join(f"{row(layout)}\n" for layout in LAYOUTS.values())
