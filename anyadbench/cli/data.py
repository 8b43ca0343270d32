"""``anyadbench data``: verify, prepare and export data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from anyadbench.cli.options import PATH, PROCESSES, SEED, extra_files
from anyadbench.cli.output import clean, print_json
from anyadbench.errors import UserError
from anyadbench.sequences import COMMON

if TYPE_CHECKING:
    from anyadbench.data.trees.layouts import Layout
    from anyadbench.data.trees.problems import Problem
    from anyadbench.protocols import Protocol

_SOURCE = click.option("--source", required=True, type=PATH, help="Folder with the data set.")
_WORKERS = click.option("--workers", type=PROCESSES, default=2, show_default=True, help="Scans read at once.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def data() -> None:
    """Verify a data set, prepare its slice store, and export it."""


@data.command()
@click.argument("dataset")
@_SOURCE
@_WORKERS
@click.option("--against", multiple=True, type=PATH, help="Store of another data set; may be repeated.")
@_JSON
@click.pass_context
def verify(
    ctx: click.Context, dataset: str, source: Path, workers: int, against: tuple[Path, ...], as_json: bool
) -> None:
    """Read every file of a data set and list all problems; exit code 1 if a scan would be left out."""
    layout = _layout(dataset)
    from anyadbench.data.store.store import open_store
    from anyadbench.data.trees.survey import discover
    from anyadbench.data.trees.verify import verify as verify_tree
    from anyadbench.launch.progress import Display

    others = [open_store(path) for path in against]
    with Display(quiet=as_json) as display:
        problems = verify_tree(source, layout, workers, display.progress, others)
    left_out = {problem.scan for problem in problems if problem.severity == "error"}
    usable = [scan.scan for scan in discover(source, layout) if scan.scan not in left_out]
    if as_json:
        listed = [problem.as_json() for problem in problems]
        print_json({"dataset": dataset, "usable": len(usable), "left_out": sorted(left_out), "problems": listed})
    else:
        _list(problems)
        warnings = sum(problem.severity == "warning" for problem in problems)
        click.echo(
            f"{dataset}: {_count(len(usable), 'scan')} can be used, {len(left_out)} would be left out "
            f"({_count(len(problems) - warnings, 'error')}, {_count(warnings, 'warning')})."
        )
    ctx.exit(1 if left_out else 0)


@data.command()
@click.argument("dataset")
@_SOURCE
@click.option("--out", type=PATH, help="Folder of the store; in the cache by default.")
@_WORKERS
@_JSON
def prepare(dataset: str, source: Path, out: Path | None, workers: int, as_json: bool) -> None:
    """Build the slice store of a data set; scans with errors are left out and listed."""
    layout = _layout(dataset)
    import json

    from anyadbench.data.store.build import default_target
    from anyadbench.data.store.build import prepare as build
    from anyadbench.data.store.remarks import read_warnings
    from anyadbench.data.trees.problems import Problem
    from anyadbench.launch.progress import Display

    target = out or default_target(source, layout)
    with Display(quiet=as_json) as display:
        store = build(source, layout, target, workers=workers, quarantine=True, progress=display.progress)
    listed = json.loads((store.path / "quarantine.json").read_text(encoding="utf-8"))
    warnings = read_warnings(store)
    counts = {"scans": len(store.scans), "slices": len(store), "subjects": int(store.scans["subject"].nunique())}
    if as_json:
        print_json(
            {
                "store": str(store.path),
                "content_hash": store.content_hash,
                **counts,
                "quarantine": listed,
                "warnings": [problem.as_json() for problem in warnings],
            }
        )
        return
    _list([*(Problem(**item) for item in listed), *warnings])
    left_out = len({item["scan"] for item in listed})
    click.echo(
        f"{store.path}: {_count(counts['slices'], 'slice')} of {_count(counts['scans'], 'scan')} and "
        f"{_count(counts['subjects'], 'subject')}; {_count(left_out, 'scan')} left out, "
        f"{_count(len(warnings), 'warning')}."
    )


@data.command("export-png")
@click.argument("store", type=PATH)
@click.option("--out", required=True, type=PATH, help="Folder to create.")
@click.option("--protocol", help="Protocol that chooses the slices; the data set's own of seven subsets by default.")
@click.option("--seed", type=SEED, default=0, help="Seed that chooses the subjects of a protocol with train.shots.")
@click.option("--t1ce", is_flag=True, help="Also write T1ce, for the release's test on an unseen sequence.")
@_JSON
def export(store: Path, out: Path, protocol: str | None, seed: int, t1ce: bool, as_json: bool) -> None:
    """Write slices of a store as the AnyAD release's tree of 8-bit PNGs."""
    from dataclasses import asdict

    from anyadbench.data.export_png import export_png
    from anyadbench.data.store.store import open_store
    from anyadbench.data.store.verified import check_store
    from anyadbench.engine.protocol_data import ProtocolData
    from anyadbench.launch.progress import Display

    opened = open_store(store)
    check_store(opened)
    rules = _rules(opened.dataset, protocol)
    selection = ProtocolData(rules, {opened.dataset: opened}, seed).selections[opened.dataset]
    sequences = [name for name in COMMON if name != "t1ce" or t1ce]
    with Display(quiet=as_json) as display:
        done = export_png(opened, out, selection, sequences, display.progress)
    if as_json:
        print_json({**asdict(done), "out": str(done.out), "protocol": rules.name})
        return
    counts = ", ".join(f"{number} in {part}" for part, number in done.slices.items())
    click.echo(f"{done.out}: {counts}, chosen by {rules.name}.")
    if done.incomplete:
        click.echo(f"{_count(done.incomplete, 'slice')} lack a sequence; the release skips them silently.")
    if done.validation:
        click.echo(
            f"{_count(done.validation, 'validation normal')} left out: the release's tree has no place for them."
        )


@data.command()
@click.argument("store", type=PATH)
@click.option("--out", type=PATH, help="Folder for card.md and card.json; the card is printed by default.")
@_JSON
def card(store: Path, out: Path | None, as_json: bool) -> None:
    """Describe a store: people, scans by sequence, lesion volumes, terms, and hashes."""
    from anyadbench.data.cards.markdown import card_markdown
    from anyadbench.data.cards.summary import summarise
    from anyadbench.data.store.store import open_store
    from anyadbench.files import make_folder, write_json, write_text

    opened = open_store(store)
    found = summarise(opened, _layout(opened.dataset))
    if out is not None:
        make_folder(out, "--out")
        write_text(out / "card.md", card_markdown(found), "--out")
        write_json(out / "card.json", found, "--out")
        click.echo(f"{out}: card.md and card.json of {opened.dataset}.")
    elif as_json:
        print_json(found)
    else:
        click.echo(card_markdown(found), nl=False)


def _rules(dataset: str, name: str | None) -> Protocol:
    """Return the protocol that chooses the slices of a data set.

    Raises:
        UserError: If the protocol does not read the data set.
    """
    from dataclasses import replace

    from anyadbench.protocols import TestSet, find_protocol, protocol_files

    if name is not None:
        found = find_protocol(name, extra_files())
        if dataset not in found.datasets:
            raise UserError(
                f"--protocol {name} reads {', '.join(found.datasets)}, but the store holds {dataset}; give another."
            )
        return found
    for known in protocol_files():
        if known.endswith("-7subsets") and find_protocol(known).train == dataset:
            return find_protocol(known)
    common = find_protocol("brats-7subsets")
    return replace(common, train=dataset, tests=(TestSet(dataset, dataset),))


def _layout(name: str) -> Layout:
    from anyadbench.plugins import find_layout

    return find_layout(name)


def _list(problems: list[Problem]) -> None:
    for problem in problems:
        click.echo(f"{problem.severity}: {clean(problem.sentence)}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
