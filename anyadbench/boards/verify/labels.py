"""What a board prints beside the numbers, and warns about, must be what the protocol and the training say."""

from __future__ import annotations

from anyadbench.boards.verify.findings import CellReport, compare
from anyadbench.protocols.model import Protocol
from anyadbench.results.schema import CellResult
from anyadbench.sequences import AS_AVAILABLE, parse_subset


def check_labels(report: CellReport, result: CellResult, protocol: Protocol) -> None:
    """Check the kind of a result, the sequences of its rows, and the training slices that have each sequence."""
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
    _check_coverage(report, result, protocol)


def _check_coverage(report: CellReport, result: CellResult, protocol: Protocol) -> None:
    """Check that a subset has no more training slices than each of its sequences, and these no more than there are."""
    found = result.trained_on
    if found is None:
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
