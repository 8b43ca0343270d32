"""``anyadbench plugins``: the installed plugins and their state."""

from __future__ import annotations

import click

from anyadbench.cli.options import json_option
from anyadbench.cli.output import print_json, print_table
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.plugins import collect, hooks, hookspecs, method_entries, scan_methods


@click.command()
@json_option()
def plugins(as_json: bool) -> None:
    """List plugins, with the problems of broken ones."""
    manager, broken_hooks = hooks()
    names = [name for name in vars(hookspecs) if name.startswith("anyadbench_")]
    failing = [item for name in names for item in collect(name)[1]]
    owners = {entry.name: entry.distribution for entry in method_entries()}
    rows: list[list[str]] = []
    for item in scan_methods():
        good = isinstance(item, MethodDescriptor)
        reason = "" if isinstance(item, MethodDescriptor) else item.reason
        rows.append([item.name, "method", owners.get(item.name, item.name), "ok" if good else reason])
    for name, _ in manager.list_name_plugin():
        rows.append([name, "hooks", "", "ok"])
    rows += [[item.name, "hooks", item.distribution, item.reason] for item in (*broken_hooks, *failing)]
    if as_json:
        print_json([dict(zip(("name", "kind", "distribution", "state"), row, strict=True)) for row in rows])
    elif rows:
        print_table(["plugin", "kind", "from", "state"], rows)
    else:
        click.echo("No plugin is installed; 'pip install anyadbench-anyad' adds AnyAD.")
