"""``anyadbench datasets``: the data sets, and where to get them."""

from __future__ import annotations

import click

from anyadbench.cli.options import json_option
from anyadbench.cli.output import print_json, print_table


@click.group(invoke_without_command=True)
@json_option()
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
@json_option()
def show(name: str, as_json: bool) -> None:
    """Show where to get a data set, its licence, its citation and the expected tree."""
    from anyadbench.data.trees.reader import reader_of
    from anyadbench.plugins import find_layout

    layout = find_layout(name)
    readers = _protocols(name)
    if as_json:
        fields = ("name", "title", "where", "licence", "citation", "tree", "notes")
        told: dict[str, object] = {key: getattr(layout, key) for key in fields}
        told |= {"healthy": layout.healthy, "healthy_subjects": layout.healthy_subjects}
        labels = {str(value): region for value, region in layout.labels.items()}
        print_json({**told, "sequences": list(layout.expected), "labels": labels, "protocols": readers})
        return
    click.echo(f"{name}: {layout.title}")
    click.echo(f"where: {layout.where}")
    click.echo(f"licence: {layout.licence}")
    click.echo(f"citation: {layout.citation}")
    click.echo(f"tree (at any depth, {' or '.join(reader_of(layout).suffixes)}):\n  {layout.tree}")
    click.echo(f"sequences: {', '.join(layout.expected)}")
    if layout.labels:
        click.echo("labels: " + ", ".join(f"{value} {region}" for value, region in layout.labels.items()))
    if layout.healthy or layout.healthy_subjects:
        click.echo(f"healthy subjects: {'all' if layout.healthy else layout.healthy_subjects.replace('~', '[_-]')}")
    if layout.notes:
        click.echo(f"notes: {layout.notes}")
    if readers:
        click.echo(f"protocols: {', '.join(readers)}")
    click.echo(f"check it: anyadbench data verify {name} --source DIR")


def _protocols(dataset: str) -> list[str]:
    """Return the built-in protocols that read a data set."""
    from anyadbench.protocols import find_protocol, protocol_files

    return [name for name in protocol_files() if dataset in find_protocol(name).datasets]
