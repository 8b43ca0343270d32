"""``anyadbench datasets``: the data sets, and where to get them."""

from __future__ import annotations

from pathlib import Path

import click

from anyadbench.cli.options import PATH, json_option
from anyadbench.cli.output import print_json, print_table
from anyadbench.errors import UserError


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
    click.echo(f"sequences: {', '.join(layout.expected) or 'those that a scan has'}")
    if layout.labels:
        click.echo("labels: " + ", ".join(f"{value} {region}" for value, region in layout.labels.items()))
    if layout.healthy or layout.healthy_subjects:
        click.echo(f"healthy subjects: {'all' if layout.healthy else layout.healthy_subjects.replace('~', '[_-]')}")
    if layout.notes:
        click.echo(f"notes: {layout.notes}")
    if readers:
        click.echo(f"protocols: {', '.join(readers)}")
    click.echo(f"check it: anyadbench data verify {name} --source DIR")


@datasets.command("export-croissant")
@click.argument("name")
@click.option("--store", type=PATH, help="Prepared store of the data set.")
@click.option("--data", type=PATH, help="Folder with the data set; its store is prepared in the cache.")
@click.option("--out", required=True, type=PATH, help="JSON-LD file to write.")
def export_croissant(name: str, store: Path | None, data: Path | None, out: Path) -> None:
    """Describe a prepared data set in the Croissant format: files with hashes, and the columns of its tables."""
    from anyadbench.data.cards.croissant import croissant
    from anyadbench.data.cards.summary import summarise
    from anyadbench.data.store.build import find_or_prepare
    from anyadbench.files import write_json
    from anyadbench.launch.progress import Display
    from anyadbench.plugins import find_layout

    layout = find_layout(name)
    if (store is None) == (data is None):
        raise UserError("Give one of --store, a prepared store, and --data, the folder of the data set.")
    with Display() as display:
        opened = find_or_prepare(store or data or Path(), layout, display.progress)
    write_json(out, croissant(opened, summarise(opened, layout), out), "--out")
    click.echo(f"{out}: Croissant 1.0 description of {name}, {len(opened)} slices.")


def _protocols(dataset: str) -> list[str]:
    """Return the built-in protocols that read a data set."""
    from anyadbench.protocols import find_protocol, protocol_files

    return [name for name in protocol_files() if dataset in find_protocol(name).datasets]
