"""``anyadbench protocols``: the protocols, their rules, and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anyadbench.cli.options import PATH, SEED, extra_files, json_option
from anyadbench.cli.output import clean, print_json, print_table
from anyadbench.errors import UserError
from anyadbench.methods.descriptor import BUDGETS
from anyadbench.sequences import SHORT

if TYPE_CHECKING:
    from anyadbench.engine.numerics import Policy
    from anyadbench.engine.protocol_data import ProtocolData
    from anyadbench.launch.forecast import Cost, Outlook
    from anyadbench.methods.descriptor import MethodDescriptor
    from anyadbench.methods.params import Value
    from anyadbench.protocols import Protocol


@click.group(invoke_without_command=True)
@json_option()
@click.pass_context
def protocols(ctx: click.Context, as_json: bool) -> None:
    """List protocols, or show one."""
    if ctx.invoked_subcommand is not None:
        return
    from anyadbench.protocols import protocol_files
    from anyadbench.protocols.reader import read_protocol

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
@click.option("--data", multiple=True, metavar="[NAME=]DIR", help="Count what the protocol trains and tests in DIR.")
@click.option("--method", "methods", multiple=True, help="Method to estimate the cost of; all of the table by default.")
@click.option("--seed", type=SEED, default=0, help="Seed of the run, which chooses the subjects of train.shots.")
@click.option("--budget", type=click.Choice(BUDGETS), help="Set of parameters; the protocol's by default.")
@click.option("--runs", type=PATH, default=Path("runs"), help="Finished cells to take times from.")
@click.option("--measure", is_flag=True, help="Time a few steps of each method on this machine.")
@json_option()
def show(name: str, as_json: bool, **options: Any) -> None:
    """Show a protocol's rules and, with --data, what it trains and tests and at what cost."""
    from anyadbench.protocols import find_protocol

    protocol = find_protocol(name, extra_files())
    counted = bool(options["data"] or options["methods"] or options["measure"])
    outlook, costs = _count(protocol, quiet=as_json, **options) if counted else (None, [])
    if as_json:
        from dataclasses import asdict

        rules = {**protocol.training_part(), **protocol.test_part()}
        known = {"name": protocol.name, "version": protocol.version, "hash": protocol.hash, "rules": rules}
        seen = asdict(outlook) | {"trained_on": outlook.trained_on.model_dump()} if outlook else None
        print_json(known | {"outlook": seen, "costs": [asdict(cost) for cost in costs]})
        return
    _print_rules(protocol)
    if outlook is not None:
        _print_outlook(protocol, outlook)
        _print_costs(costs)


def _print_rules(protocol: Protocol) -> None:
    """Print a protocol as TOML that reads back to it, with derived facts in comments."""
    from anyadbench.protocols.writer import to_toml

    oracle = " ORACLE: selects on test data." if protocol.oracle else ""
    click.echo(f"# {protocol.name} (version {protocol.version}, hash {protocol.hash[:16]}).{oracle}")
    for test in protocol.tests:
        click.echo(f"# rows of {clean(test.name)}: {', '.join(protocol.rows(test))}")
    click.echo(to_toml(protocol), nl=False)


def _count(
    protocol: Protocol,
    quiet: bool,
    data: tuple[str, ...],
    methods: tuple[str, ...],
    seed: int,
    budget: str | None,
    runs: Path,
    measure: bool,
) -> tuple[Outlook, list[Cost]]:
    from anyadbench.cells.identity import method_params
    from anyadbench.cells.stores import locate, open_stores
    from anyadbench.engine.numerics import resolve_policy
    from anyadbench.engine.protocol_data import ProtocolData
    from anyadbench.launch.forecast import count_cost, look_ahead, time_from_cells
    from anyadbench.launch.plan import expand_methods
    from anyadbench.launch.progress import Display
    from anyadbench.plugins import find_method

    descriptors = [find_method(method)[0] for method in expand_methods(methods or ("all",))]
    policy = resolve_policy("auto", "auto", False, protocol.threads)
    with Display(quiet=quiet) as display:
        found = ProtocolData(protocol, open_stores(protocol, locate(protocol, data), display.progress), seed)
    found.check_apart()
    outlook, costs = look_ahead(found), []
    for descriptor in descriptors:
        params = method_params(descriptor, protocol, budget or protocol.budget)
        cost = count_cost(descriptor, params, budget or protocol.budget, outlook)
        if measure:
            costs.append(_timed(cost, descriptor, params, found, policy, named=descriptor.name in methods))
        else:
            costs.append(time_from_cells(cost, params, policy.device, runs))
    return outlook, costs


def _timed(
    cost: Cost,
    descriptor: MethodDescriptor,
    params: dict[str, Value],
    data: ProtocolData,
    policy: Policy,
    *,
    named: bool,
) -> Cost:
    """Return a cost with measured seconds, or with why there are none for a method that only a group asked for."""
    from dataclasses import replace

    from anyadbench.launch.timing import time_here

    try:
        return time_here(cost, descriptor, params, data, policy)
    except UserError as error:
        if named:
            raise
        return replace(cost, basis=str(error))


def _print_outlook(protocol: Protocol, outlook: Outlook) -> None:
    train, validation = outlook.train, outlook.validation
    click.echo("\nwith this data:")
    kind = "" if outlook.validation_kind == "subjects" else f" ({outlook.validation_kind})"
    click.echo(
        f"trains on {train.normal} {protocol.trains_on} of {protocol.train} ({train.subjects} subjects); validates on "
        f"{validation.normal} of {validation.subjects}{kind}"
    )
    for note in outlook.notes:
        click.echo(clean(note))
    print_table(["training slices with", "slices"], _coverage(outlook))
    for name in outlook.trained_on.never:
        click.echo(f"{SHORT[name]} is never trained on: no training slice has it.")
    for test in outlook.tests:
        feed = ", ".join(f"{slot} fed {source}" for slot, source in test.feed.items())
        click.echo(f"tests on {test.name}{' (' + feed + ')' if feed else ''}: {_names(test.subjects)}")
        rows = [[r.name, *(str(n) for n in (r.subjects, r.normal, r.abnormal))] for r in test.rows]
        print_table(["row", "subjects", "normal", "abnormal"], rows)


def _coverage(outlook: Outlook) -> list[list[str]]:
    """Return the training slices of each sequence and of each subset of several."""
    found = outlook.trained_on
    counts = {SHORT[name]: count for name, count in found.sequences.items()}
    counts |= {label: count for label, count in found.subsets.items() if "+" in label}
    return [[name, str(count)] for name, count in counts.items()]


def _names(subjects: list[str], most: int = 8) -> str:
    more = f" and {len(subjects) - most} more" if len(subjects) > most else ""
    return ", ".join(clean(name) for name in subjects[:most]) + more


def _print_costs(costs: list[Cost]) -> None:
    click.echo("\ncost of one cell (one seed):")
    rows = [
        [
            cost.method, cost.budget, str(cost.steps), str(cost.slices), str(cost.maps), _time(cost.fit_seconds),
            _time(cost.score_seconds),
        ]
        for cost in costs
    ]  # fmt: skip
    print_table(["method", "budget", "steps", "slices", "maps", "training", "scoring"], rows)
    methods: dict[str, list[str]] = {}
    for cost in costs:
        methods.setdefault(cost.basis, []).append(cost.method)
    for basis, names in methods.items():
        of = f" of {', '.join(names)}" if len(methods) > 1 else ""
        click.echo(f"times{of}: {clean(basis)}")


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
