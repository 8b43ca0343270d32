"""``anyadbench datasets``."""

from __future__ import annotations

import click

from anyadbench.cli.output import print_json, print_table


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def datasets(ctx: click.Context, as_json: bool) -> None:
    """List data sets, or show where to get one."""
    if ctx.invoked_subcommand is not None:
        return
    from anyadbench.plugins import all_layouts

    known = all_layouts()
    if as_json:
        print_json([{"name": name, "title": layout.title, "licence": layout.licence} for name, layout in known.items()])
        return
    print_table(
        ["data set", "licence", "what it is"], [[n, layout.licence, layout.title] for n, layout in known.items()]
    )


@datasets.command()
@click.argument("name")
def show(name: str) -> None:
    """Show where to get a data set, its licence, its citation and the tree expected."""
    from anyadbench.plugins import find_layout

    layout = find_layout(name)
    click.echo(f"{name}: {layout.title}")
    click.echo(f"where: {layout.where}")
    click.echo(f"licence: {layout.licence}")
    click.echo(f"citation: {layout.citation}")
    click.echo(f"tree:\n{layout.tree}")
    if layout.notes:
        click.echo(f"notes: {layout.notes}")
