"""What a board prints beside the numbers, and warns about, must be what the protocol and the training say."""

from __future__ import annotations

from contextlib import suppress

from anyadbench.boards.verify.findings import CellReport, compare
from anyadbench.errors import UserError
from anyadbench.plugins import code_hash, find_method
from anyadbench.protocols.model import Protocol
from anyadbench.results.schema import CellResult
from anyadbench.sequences import AS_AVAILABLE, parse_subset

_CONTROLS = "control:"
"""How the names of this project's controls begin."""

_WITHOUT_COVERAGE = ("1", "2")
"""Versions of the metrics under which cells were made before results counted their training slices."""


def check_labels(report: CellReport, result: CellResult, protocol: Protocol) -> None:
    """Check the kind of a result, its method, the sequences of its rows, and the training slices with each sequence."""
    kinds = {"oracle", "control", "external"} if protocol.oracle else {"measured", "control", "external"}
    report.numbers += 1
    if result.kind not in kinds:
        what = "an oracle" if protocol.oracle else "no oracle"
        report.note("result.json", f"kind is {result.kind!r}, but {protocol.name} is {what} by protocol.toml.")
    tests = {test.name: test for test in protocol.tests}
    for row in result.rows:
        if row.test not in tests or row.subset not in protocol.rows(tests[row.test]):
            continue  # named before
        sequences = protocol.sequences if row.subset == AS_AVAILABLE else parse_subset(row.subset)
        wanted = {"sequences": list(sequences), "feed": dict(tests[row.test].feed)}
        found = {"sequences": row.sequences, "feed": row.feed}
        compare(report, "result.json", "protocol.toml", f"{row.test}, {row.subset}: ", wanted, found)
    _check_method(report, result, protocol)
    _check_coverage(report, result, protocol)


def _check_method(report: CellReport, result: CellResult, protocol: Protocol) -> None:
    """Check that controls are called so and, where the method of the same code is installed, what boards say of it."""
    name = result.method.name
    control, same = name.startswith(_CONTROLS), False
    with suppress(UserError):  # where it is not installed, the name decides
        descriptor, entry = find_method(name)
        control = descriptor.is_control
        same = code_hash(entry, descriptor.factory) == result.method.code_hash
    report.numbers += 1
    if (result.kind == "control") != control:
        report.note("result.json", f"kind is {result.kind!r}, but {name} is {'a' if control else 'no'} control.")
    if same and result.kind != "external":
        wanted = {
            "title": descriptor.title, "chosen_on": descriptor.chosen_on, "citation": descriptor.citation,
            "departures": descriptor.departures_under(protocol.selection),
        }  # fmt: skip
        found = {field: getattr(result.method, field) for field in wanted}
        compare(report, "result.json", "the installed method", "method.", wanted, found)


def _check_coverage(report: CellReport, result: CellResult, protocol: Protocol) -> None:
    """Check that a subset has no more training slices than each of its sequences, and these no more than there are."""
    found = result.trained_on
    if found is None:
        trained = result.kind in ("measured", "oracle") and result.weights.kind != "checkpoint"
        if trained and result.metric_version not in _WITHOUT_COVERAGE:
            report.note("result.json", "trained_on is missing, which counts the training slices with each sequence.")
        return
    report.numbers += len(found.sequences) + len(found.subsets)
    if list(found.sequences) != list(protocol.sequences):
        report.note("result.json", "trained_on does not name the sequences of the protocol.")
        return
    for name, count in found.sequences.items():
        if not 0 <= count <= found.slices:
            report.note("result.json", f"trained_on: {count} of {found.slices} training slices have {name}.")
    for label, count in found.subsets.items():
        most = min((found.sequences.get(name, 0) for name in parse_subset(label)), default=0)
        if not 0 <= count <= most:
            text = f"trained_on: {count} training slices have {label}, but only {most} each of its sequences."
            report.note("result.json", text)
