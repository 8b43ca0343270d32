"""``anyadbench protocols``."""

from __future__ import annotations

from pathlib import Path

import click

from anyadbench.cli.output import print_json, print_table
from anyadbench.errors import UserError
from anyadbench.sequences import format_subset


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def protocols(ctx: click.Context, as_json: bool) -> None:
    """List protocols, or show one."""
    if ctx.invoked_subcommand is not None:
        return
    from anyadbench.protocols import protocol_files
    from anyadbench.protocols.model import read_protocol

    known = []
    for path in protocol_files(extra_files()).values():
        try:
            known.append(read_protocol(path))
        except UserError as error:
            click.echo(f"left out: {error}", err=True)
    if as_json:
        print_json([{"name": p.name, "title": p.title, "version": p.version, "hash": p.hash} for p in known])
        return
    print_table(["protocol", "data", "what it is"], [[p.name, "+".join(p.datasets), p.title] for p in known])


@protocols.command()
@click.argument("name")
def show(name: str) -> None:
    """Show a protocol's rules."""
    from anyadbench.protocols import find_protocol

    protocol = find_protocol(name, extra_files())
    click.echo(f"{protocol.name} (version {protocol.version}, hash {protocol.hash[:16]}): {protocol.title}")
    click.echo(f"trained on: {protocol.train}")
    for test in protocol.tests:
        feed = ", ".join(f"{slot} fed {source}" for slot, source in test.feed.items())
        click.echo(f"tested on: {test.name} ({test.dataset}, split {test.split}){'; ' + feed if feed else ''}")
    rows = [format_subset(subset) for subset in protocol.subsets] + (["as available"] if protocol.as_available else [])
    click.echo(f"rows: {', '.join(rows)}")
    click.echo(f"weights: {protocol.weights}; budget: {protocol.budget}; threads: {protocol.threads}")
    for part in (protocol.slices, protocol.split, protocol.intensity):
        values = ", ".join(f"{key} = {value}" for key, value in vars(part).items())
        click.echo(f"{type(part).__name__}: {values}")
    click.echo(f"scoring grid: {'native' if protocol.scoring_grid == (0, 0) else protocol.scoring_grid}")
    if protocol.notes:
        click.echo(protocol.notes.strip())


def extra_files() -> tuple[Path, ...]:
    """Return the protocol files that plugins add."""
    from anyadbench.plugins import collect

    return tuple(path for paths in collect("anyadbench_protocols")[0] for path in paths)
