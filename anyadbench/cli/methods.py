"""``anyadbench methods``: the installed methods, and the facts about each."""

from __future__ import annotations

import click

from anyadbench.cli.options import json_option
from anyadbench.cli.output import print_json, print_table
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.plugins import find_method, method_entries, scan_methods


@click.group(invoke_without_command=True)
@json_option()
@click.pass_context
def methods(ctx: click.Context, as_json: bool) -> None:
    """List methods, or show one."""
    if ctx.invoked_subcommand is not None:
        return
    found = scan_methods()
    owners = {entry.name: f"{entry.distribution} {entry.version}" for entry in method_entries()}
    if as_json:
        print_json([_summary(item, owners) if isinstance(item, MethodDescriptor) else vars(item) for item in found])
        return
    if not found:
        click.echo(
            "No method is installed; 'pip install anyadbench-anyad anyadbench-baselines' adds AnyAD and the others."
        )
        return
    rows = [
        [item.name, owners[item.name], " ".join([item.summary, *_cannot(item)])]
        if isinstance(item, MethodDescriptor)
        else [item.name, item.distribution, f"cannot be used: {item.reason}"]
        for item in found
    ]
    print_table(["method", "from", "what it is"], rows)


def _cannot(item: MethodDescriptor) -> list[str]:
    return [f"Cannot be run: {item.unavailable}."] if item.unavailable else []


def _summary(item: MethodDescriptor, owners: dict[str, str]) -> dict[str, object]:
    return {
        "name": item.name,
        "title": item.title,
        "from": owners[item.name],
        "summary": item.summary,
        "unavailable": item.unavailable,
        "training_mask": item.training_mask,
        "missing": item.missing,
        "weights": dict(item.weights),
        "citation": item.citation,
        "code_licence": item.code_licence,
        "departures": item.departures_under("last"),
        "chosen_on": item.chosen_on,
        "params": {p.name: {"default": p.default, "doc": p.doc, "choices": list(p.choices)} for p in item.params},
        "budgets": {name: dict(values) for name, values in item.budgets.items()},
    }


@methods.command()
@click.argument("name")
@json_option()
def show(name: str, as_json: bool) -> None:
    """Show a method: parameters, budgets, weights, citation, departures."""
    descriptor, entry = find_method(name)
    owner = f"{entry.distribution} {entry.version}"
    if as_json:
        print_json(_summary(descriptor, {name: owner}))
        return
    click.echo(f"{descriptor.title} ({descriptor.name}), from {owner}")
    click.echo(descriptor.summary)
    for sentence in _cannot(descriptor):
        click.echo(sentence)
    click.echo(f"citation: {descriptor.citation or '-'}")
    click.echo(f"licence of the published code: {descriptor.code_licence or '-'}")
    click.echo(f"training mask: {descriptor.training_mask}; hidden sequences: {descriptor.missing}")
    for profile, weights in descriptor.weights.items():
        click.echo(f"weights ({profile}): {weights}")
    if descriptor.params:
        click.echo("")
        budgets = list(descriptor.budgets)
        rows = [
            [p.name, str(p.default), *(str(descriptor.budgets[b].get(p.name, "")) for b in budgets), p.doc]
            for p in descriptor.params
        ]
        print_table(["parameter", "default", *budgets, "what it is"], rows)
    if descriptor.chosen_on:
        click.echo(f"chosen on test figures: {descriptor.chosen_on}")
    for departure in descriptor.departures_under("last"):
        click.echo(f"departs from the publication: {departure}")
