"""``anyadbench card``: the model card of a finished cell."""

from __future__ import annotations

from pathlib import Path

import click

from anyadbench.cli.options import PATH, cell_option


@click.command()
@cell_option
@click.option("--out", type=PATH, help="File to write; standard output by default.")
def card(cell: Path, out: Path | None) -> None:
    """Write a finished cell's model card as Markdown: data, protocol, metrics with intervals, limits."""
    from anyadbench.predict.card import card_markdown
    from anyadbench.predict.cell import read_cell

    text = card_markdown(read_cell(cell))
    if out is None:
        click.echo(text, nl=False)
        return
    from anyadbench.files import make_folder, write_text

    make_folder(out.parent, "--out")
    write_text(out, text, "--out")
    click.echo(str(out))
