"""Tables and JSON on standard output, plain when piped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=1, sort_keys=True, allow_nan=False))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as their content; the last one is wrapped to the terminal.

    A few lines of text need no table library; importing one would take a third of the command's time.
    """
    import shutil
    import textwrap

    widths = [max(len(clean(row[i])) for row in [header, *rows]) for i in range(len(header) - 1)]
    room = max(30, shutil.get_terminal_size((100, 24)).columns - sum(widths) - 2 * len(widths))
    for row in [header, *rows]:
        cells = [clean(cell) for cell in row]
        lines = textwrap.wrap(cells[-1], room) or [""]
        start = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False))
        click.echo(f"{start}  {lines[0]}".rstrip() if widths else lines[0])
        for line in lines[1:]:
            click.echo(" " * (sum(widths) + 2 * len(widths)) + line)


def clean(text: str) -> str:
    """Replace control characters, so that a name from a file cannot control the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
