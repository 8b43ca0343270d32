"""Whole scans, scores of subjects, and sites must be of everyone whom the manifest selects, as it describes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyadbench.boards.aggregate.recompute import Statistics
from anyadbench.boards.verify.findings import CellReport, at
from anyadbench.protocols.model import Protocol
from anyadbench.results.schema import CellResult
from anyadbench.sequences import AS_AVAILABLE, format_subset

if TYPE_CHECKING:
    from anyadbench.metrics.scans.whole_scans import SubjectScore

_SCANS, _HEALTHY, _SITES = "scores/scans.npz", "scores/healthy.csv", "scores/sites.csv"
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class _Selected:
    """What the manifest selects of a data set.

    Attributes:
        parts: Subjects by part, healthy ones included.
        healthy: Healthy subjects by part.
        scans: Test scans with selected slices.
        validated: Number of scans with selected slices of healthy validation subjects.
    """

    parts: Mapping[str, set[str]]
    healthy: Mapping[str, set[str]]
    scans: set[str]
    validated: int


def check_people(
    report: CellReport, result: CellResult, protocol: Protocol, manifest: dict[str, Any], statistics: Statistics
) -> None:
    """Check that everyone tested is a test subject, that nobody who validates is one, and that nobody was left out."""
    datasets = {test.name: test.dataset for test in protocol.tests} | {"": protocol.train}
    known = {name: _selected(manifest, dataset) for name, dataset in datasets.items()}
    _check_strangers(report, known, statistics)
    _check_facts(report, known, statistics)
    if result.kind == "external" or not statistics.whole.rows:
        return
    labels = [format_subset((name,)) for name in protocol.sequences]
    for test in protocol.tests:
        _check_test(report, test.name, labels, known[test.name], statistics)
    _check_validation(report, known[""], statistics)


def _selected(manifest: dict[str, Any], dataset: str) -> _Selected:
    def names(path: str) -> set[str]:
        return {str(name) for name in at(manifest, f"data.{dataset}.selection.{path}") or []}

    healthy = {part: names(f"healthy.subjects.{part}") for part in ("train", "val", "test")}
    parts = {part: names(f"subjects.{part}") | healthy[part] for part in healthy}
    listed = ("slices.test_normals", "slices.test_abnormals", "healthy.slices.test")
    scans = {scan for name in listed for scan in names(name)}
    return _Selected(parts, healthy, scans, len(names("healthy.slices.val")))


def _check_strangers(report: CellReport, known: Mapping[str, _Selected], statistics: Statistics) -> None:
    for row in statistics.whole.rows.values():
        listed = known[row.test].parts["test"] if row.test in known else set(row.subjects)
        for name in sorted(set(row.subjects) - listed)[:1]:
            report.note(_SCANS, f"{row.test}, {row.subset}: {name} is no test subject of {_MANIFEST}.")
    for one in statistics.whole.scores:
        if one.test not in known or one.subject not in known[one.test].parts[one.part]:
            report.note(_HEALTHY, f"{one.subject} is no {one.part} subject of {_MANIFEST}.")
            break
    for test, sites in statistics.whole.sites.items():
        for name in sorted(set(sites) - (known[test].parts["test"] if test in known else set()))[:1]:
            report.note(_SITES, f"{name} is no test subject of {_MANIFEST}.")


def _check_facts(report: CellReport, known: Mapping[str, _Selected], statistics: Statistics) -> None:
    """Check that subjects are healthy by the manifest, and that all lines on a subject describe the same person."""
    facts: dict[tuple[str, str], tuple[Any, ...]] = {}
    for one in statistics.whole.scores:
        if one.test not in known:
            continue  # named before
        report.numbers += 1
        healthy = any(one.subject in part for part in known[one.test].healthy.values())
        if one.healthy != healthy:
            said, found = ("healthy" if flag else "a patient" for flag in (one.healthy, healthy))
            report.note(_HEALTHY, f"{one.subject} is {said}, but {found} by {_MANIFEST}.")
            return
        own = (one.age, one.sex, one.site)
        if facts.setdefault((one.test, one.subject), own) != own:
            report.note(_HEALTHY, f"rows disagree on age, sex or site of {one.subject}.")
            return
        sites = statistics.whole.sites.get(one.test)
        if sites is not None and one.subject in sites and sites[one.subject] != one.site:
            report.note(_SITES, f"the site of {one.subject} is not the one in {_HEALTHY}.")
            return


def _check_test(
    report: CellReport, test: str, sequences: Sequence[str], selected: _Selected, statistics: Statistics
) -> None:
    """Check that a test set has the scans of all test subjects, and the score of each in every row if some are healthy.

    Args:
        report: Where problems are noted.
        test: Name of the test set.
        sequences: Labels of single sequences.
        selected: What the manifest selects of its data set.
        statistics: What the cell stores.
    """
    rows = {subset: row for (name, subset), row in statistics.whole.rows.items() if name == test}
    singles = [rows[name] for name in sequences if name in rows]
    everyone = [rows[AS_AVAILABLE]] if AS_AVAILABLE in rows else singles
    # Rows of several sequences alone do not show who lacks one of them.
    if AS_AVAILABLE in rows or len(singles) == len(sequences):
        scanned = {name for row in everyone for name in row.subjects}
        for name in sorted(selected.parts["test"] - scanned)[:1]:
            report.note(_SCANS, f"{test}: {name} has no scan, but is a test subject of {_MANIFEST}.")
        missing = selected.scans - {scan for row in everyone for scan in row.scans}
        for scan in sorted(missing)[:1]:
            report.note(_SCANS, f"{test}: {scan} is missing, but {_MANIFEST} selects slices of it.")
    if AS_AVAILABLE in rows and len(singles) == len(sequences):
        several = {scan for row in singles for scan in row.scans}
        for scan in sorted(several ^ set(rows[AS_AVAILABLE].scans))[:1]:
            report.note(_SCANS, f"{test}: {scan} is only in one of the row as available and those of single sequences.")
    if not selected.healthy["test"] & {name for row in rows.values() for name in row.subjects}:
        return
    scored = _by_subset(statistics.whole.scores, "test", test)
    for subset, row in rows.items():
        for name in sorted(scored.get(subset, set()) ^ set(row.subjects))[:1]:
            report.note(_HEALTHY, f"{test}, {subset}: {name} is only in one of it and {_SCANS}.")


def _check_validation(report: CellReport, selected: _Selected, statistics: Statistics) -> None:
    """Check that all healthy validation subjects have scores, since thresholds of alarms are their ranks."""
    wanted = selected.healthy["val"]
    if not any(one.healthy and one.part == "test" for one in statistics.whole.scores):
        return
    scored = _by_subset(statistics.whole.scores, "val", "")
    for name in sorted(wanted - {name for own in scored.values() for name in own})[:1]:
        report.note(_HEALTHY, f"{name} has no score, but is a healthy validation subject of {_MANIFEST}.")
    if AS_AVAILABLE in scored:
        for name in sorted(wanted - scored[AS_AVAILABLE])[:1]:
            report.note(_HEALTHY, f"{AS_AVAILABLE}: {name} has no score, but is a validation subject of {_MANIFEST}.")
    # A subject with two scans may have one sequence in the first and another in the second.
    one_scan_each = selected.validated <= len(wanted)
    for subset in sorted({subset for _, subset in statistics.whole.rows} - {AS_AVAILABLE}):
        singles = [scored.get(name) for name in subset.split("+")]
        if len(singles) < 2 or None in singles:
            continue
        shared = set.intersection(*(single for single in singles if single is not None))
        own = scored.get(subset, set())
        for name in sorted(own ^ shared if one_scan_each else own - shared)[:1]:
            report.note(_HEALTHY, f"{subset}: {name} validates only one of this row and those of its sequences.")


def _by_subset(scores: Iterable[SubjectScore], part: str, test: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in scores:
        if (one.part, one.test) == (part, test):
            found.setdefault(one.subset, set()).add(one.subject)
    return found
