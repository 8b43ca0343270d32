"""The check of one submitted cell: schema, hashes, coverage, and every number recomputed from its stored data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyadbench.boards.aggregate.recompute import Statistics, read_statistics
from anyadbench.boards.verify.claims import check_claims
from anyadbench.boards.verify.condense import GROUPED
from anyadbench.boards.verify.counts import check_counts
from anyadbench.boards.verify.findings import CellReport, at, compare
from anyadbench.boards.verify.heights import check_heights
from anyadbench.boards.verify.labels import check_labels
from anyadbench.boards.verify.replicates import check_replicates
from anyadbench.boards.verify.twins import fingerprints
from anyadbench.boards.verify.whole_scans import check_whole_scans, take_close_sites
from anyadbench.errors import UserError
from anyadbench.hashing import sha256_file
from anyadbench.metrics.names import BALANCED
from anyadbench.metrics.rows.grouped import GroupedSteps
from anyadbench.metrics.rows.row_numbers import IGNORED_PX
from anyadbench.protocols.model import Protocol
from anyadbench.results.arrays import ODD
from anyadbench.results.cellfiles import NEEDED, SLICE_TABLES, RowKey
from anyadbench.results.read import inside, load_result, read_json
from anyadbench.results.schema import CellResult, Row
from anyadbench.sequences import AS_AVAILABLE, format_subset

if TYPE_CHECKING:
    from anyadbench.metrics.rows.replicates import RowReplicates

_POLICY = ("device", "dtype", "tf32", "deterministic", "threads")
_SAME = ("test", "subset", "sequences", "feed", "n_emptied")
"""Row fields that cannot be recomputed: only the masks show how many slices a crop emptied."""


def check_cell(folder: Path) -> CellReport:
    """Check a finished cell; damage is reported as a problem, never raised."""
    report = CellReport(folder)
    try:
        head = read_json(folder, "cell.json")
        data = read_json(folder, "result.json")
        result = load_result(data, f"{folder.name}/result.json")
    except UserError as error:
        report.problems.append(str(error))
        return report
    if data.get("schema_version", 1) < 2:
        report.note("result.json", "schema version 1 has no exact pixel statistics; run the method again.")
        return report
    head = head if isinstance(head, dict) else {}
    _check_hashes(report, result, head)
    _check_identity(report, result, head)
    protocol = _check_protocol(report, result)
    _check_rows(report, result)
    try:
        statistics = read_statistics(folder, format_subset(result.protocol.sequences))
    except UserError as error:
        report.problems.append(str(error))
        statistics = None
    _check_origin(report, result, protocol, head, statistics)
    if statistics is None:
        return report
    report.result, report.prints = result, fingerprints(result, statistics.slices)
    _check_coverage(report, result, statistics)
    again = {(row.test, row.subset): statistics.row((row.test, row.subset)) for row in result.rows}
    version = data.get("schema_version", 1)
    _check_numbers(report, result, statistics, {place: numbers for place, (numbers, _) in again.items()}, version)
    _check_derived(report, result, statistics, {place: values for place, (_, values) in again.items()})
    _check_kept(report, statistics)
    return report


def _check_origin(
    report: CellReport,
    result: CellResult,
    protocol: Protocol | None,
    head: Mapping[str, Any],
    statistics: Statistics | None,
) -> None:
    """Check what a cell says of its origin; a manifest of another form is one problem."""
    try:
        manifest = read_json(report.folder, "manifest.json")
    except UserError:
        return  # named before
    if protocol is None:
        return
    try:
        check_labels(report, result, protocol)
        check_claims(report, result, protocol, manifest, head)
        if statistics is not None:
            check_counts(report, result, protocol, manifest, statistics)
            check_heights(report, result, protocol, manifest, statistics)
            check_whole_scans(report, result, protocol, manifest, statistics)
    except ODD:
        report.note("manifest.json", "does not have the form that a run gives it; run the cell again.")


def _check_hashes(report: CellReport, result: CellResult, head: Mapping[str, Any]) -> None:
    path = inside(report.folder, "result.json")
    if path is not None and head.get("result_sha256") != sha256_file(path):
        report.note("result.json", "its hash is not the one in cell.json: one of them was changed after the run.")
    table = next((name for name in SLICE_TABLES if inside(report.folder, name) is not None), SLICE_TABLES[0])
    needed = (*NEEDED, table)
    for name in (*needed, *(name for name in result.files if name not in needed)):
        path = inside(report.folder, name) if name.replace("/", "").replace(".", "").isalnum() else None
        if name not in result.files:
            report.note("result.json", f"has no hash of {name}.")
        elif path is None and name in needed:
            report.note(name, "is missing or a link.")
        elif path is None:
            report.absent.append(name)
        elif sha256_file(path) != result.files[name]:
            report.note(name, "its hash is not the one in result.json: the file was changed after the run.")


def _check_identity(report: CellReport, result: CellResult, head: Mapping[str, Any]) -> None:
    """Check that files agree on the facts they share."""
    told = {
        "state": "done", "cell_id": result.cell_id, "fit_id": result.fit_id, "method": result.method.name,
        "protocol": result.protocol.name, "seed": result.seed,
    }  # fmt: skip
    compare(report, "cell.json", "result.json", "", told, {name: head.get(name) for name in told})
    try:
        manifest = read_json(report.folder, "manifest.json")
    except UserError as error:
        report.problems.append(str(error))
        return
    ours: dict[str, Any] = {
        "seed": result.seed, "fit.id": result.fit_id, "protocol.hash": result.protocol.hash,
        "protocol.sequences": result.protocol.sequences, "protocol.subsets": result.protocol.subsets,
        "timings": result.timings, "memory": result.memory,
        **{f"policy.{name}": getattr(result.numerics, name) for name in _POLICY},
        "plugin.code_hash": result.method.code_hash, "plugin.distribution": result.method.distribution,
        "plugin.version": result.method.version, "weights.name": result.weights.name,
        "weights.kind": result.weights.kind, "weights.sha256": result.weights.sha256,
        "weights.marked": result.weights.marked,
    }  # fmt: skip
    theirs = {name: at(manifest, name) for name in ours}
    if result.kind == "external":
        ours = {name: ours[name] for name in ("seed", "protocol.hash", "protocol.sequences", "protocol.subsets")}
    compare(report, "manifest.json", "result.json", "", ours, {name: theirs[name] for name in ours})


def _check_protocol(report: CellReport, result: CellResult) -> Protocol | None:
    """Check the result against the protocol's file, and return the protocol."""
    from anyadbench.protocols.reader import read_protocol

    path = inside(report.folder, "protocol.toml")
    if path is None:
        return None
    try:
        protocol = read_protocol(path)
    except UserError as error:
        report.note("protocol.toml", str(error))
        return None
    found: dict[str, Any] = {
        "name": protocol.name, "title": protocol.title, "version": protocol.version, "hash": protocol.hash,
        "sequences": list(protocol.sequences), "subsets": [format_subset(subset) for subset in protocol.subsets],
        "oracle": protocol.oracle, "normals": protocol.normals, "rank_height": protocol.scoring.rank_height,
        "shots": protocol.shots,
    }  # fmt: skip
    compare(report, "result.json", "protocol.toml", "protocol.", found, result.protocol.model_dump())
    wanted = {(test.name, label) for test in protocol.tests for label in protocol.rows(test)}
    rows = [(row.test, row.subset) for row in result.rows]
    for place in sorted(wanted.symmetric_difference(rows)):
        what = "lacks a row that the protocol has" if place in wanted else "has a row that the protocol lacks"
        report.note("result.json", f"{what}: {', '.join(place)}.")
    if len(set(rows)) < len(rows):
        report.note("result.json", "contains a row twice.")
    return protocol


def _check_rows(report: CellReport, result: CellResult) -> None:
    for row in result.rows:
        for name, value in row.metrics.items():
            low, high = row.intervals.get(name, (None, None))
            if value is not None and not 0 <= value <= 1:
                report.note("result.json", f"{row.test}, {row.subset}: {name} is {value}, outside 0 to 1.")
            if low is not None and high is not None and low > high:
                report.note("result.json", f"{row.test}, {row.subset}: the interval of {name} has its ends swapped.")


def _check_coverage(report: CellReport, result: CellResult, statistics: Statistics) -> None:
    """Check that every row has the slices that the manifest selects, and that rows agree on each slice."""
    served = {(row.test, row.subset) for row in result.rows if row.n_slices}
    for place in sorted(served ^ set(statistics.slices)):
        report.note("scores/slices.csv", f"{', '.join(place)} is only in one of slices.csv and result.json.")
    seen: dict[tuple[str, str, int], tuple[Any, ...]] = {}
    for place, records in statistics.slices.items():
        keys = [(place[0], record["scan"], record["slice"]) for record in records]
        if len(set(keys)) < len(keys):
            report.note("scores/slices.csv", f"{', '.join(place)} contains a slice twice.")
        for key, record in zip(keys, records, strict=True):
            facts = tuple(record[name] for name in ("subject", "label", "lesion_px", "brain", "height_mm"))
            facts += (record.get(IGNORED_PX, 0),)
            if seen.setdefault(key, facts) != facts:
                report.note("scores/slices.csv", f"rows disagree on slice {key[2]} of {key[1]} ({', '.join(place)}).")
    check_selection(report, result, statistics)


def check_selection(report: CellReport, result: CellResult, statistics: Statistics) -> None:
    """Check that rows have all slices that the manifest selects from their scans, and that no row omits a scan."""
    try:
        manifest = read_json(report.folder, "manifest.json")
        tests = {test["name"]: test["dataset"] for test in manifest["protocol"]["tests"]}
        chosen = {name: manifest["data"][dataset]["selection"]["slices"] for name, dataset in tests.items()}
        selected = {
            name: {
                (scan, int(number)): label
                for label, part in enumerate(("test_normals", "test_abnormals"))
                for scan, numbers in parts[part].items()
                for number in numbers
            }
            for name, parts in chosen.items()
        }
    except (UserError, *ODD):
        report.note("manifest.json", "does not list the selected slices of every test set.")
        return
    for place, records in statistics.slices.items():
        wanted = selected.get(place[0], {})
        scans = {record["scan"] for record in records}
        if place[1] == AS_AVAILABLE and result.kind != "external":
            scans = {scan for scan, _ in wanted}  # every selected scan has some sequence
        found = {(record["scan"], record["slice"]): record["label"] for record in records}
        expected = {key: label for key, label in wanted.items() if key[0] in scans}
        for key in sorted(set(found.items()) ^ set(expected.items()))[:3]:
            (scan, number), _ = key
            text = f"{', '.join(place)}: slice {number} of {scan} contradicts the selection in manifest.json."
            report.note("scores/slices.csv", text)
    if result.kind != "external":
        _check_scans(report, result, statistics)


def _check_scans(report: CellReport, result: CellResult, statistics: Statistics) -> None:
    """Check that a row has the scans that the rows of its single sequences share: no row may omit one."""
    served: dict[RowKey, set[str]] = {(row.test, row.subset): set() for row in result.rows}
    for place, records in statistics.slices.items():
        served[place] = {record["scan"] for record in records}
    for (test, subset), scans in served.items():
        singles = [served.get((test, name)) for name in subset.split("+")]
        if subset == AS_AVAILABLE or len(singles) < 2 or None in singles:
            continue
        shared = set.intersection(*(single for single in singles if single is not None))
        for scan in sorted(scans ^ shared)[:3]:
            found = "but not of" if scan in scans else "and of"
            sequences = " and ".join(subset.split("+"))
            text = f"{test}, {subset}: {scan} is in this row {found} the rows of each of {sequences}."
            if scan not in scans:
                text = f"{test}, {subset} lacks {scan}, which is in the rows of {sequences}."
            report.note("scores/slices.csv", text)


def _check_numbers(
    report: CellReport,
    result: CellResult,
    statistics: Statistics,
    again: Mapping[RowKey, dict[str, Any]],
    version: int,
) -> None:
    for row in result.rows:
        numbers = again[row.test, row.subset]
        wanted = Row(**{name: getattr(row, name) for name in _SAME}, **numbers).model_dump()
        if row.n_emptied > row.n_abnormal:
            report.note("result.json", f"{row.test}, {row.subset}: more abnormal slices are emptied than exist.")
        if row.n_slices == 0 or result.kind == "external":
            wanted["reasons"] = row.reasons  # they describe files that were missing
        told = row.model_dump()
        if version < 4:  # without intervals by the jackknife and without balanced metrics
            wanted["intervals"] = {}
            wanted["metrics"] = {name: wanted["metrics"][name] for name in row.metrics if name in wanted["metrics"]}
            for reasons in (wanted["reasons"], told["reasons"]):
                for name in ("intervals", *BALANCED):
                    reasons.pop(name, None)
        elif result.metric_version == "2":  # whose intervals follow an earlier rule; boards compute their own
            wanted["intervals"], told["intervals"] = {}, {}
        where = f"{row.test}, {row.subset}: "
        pixels = statistics.pixels.get((row.test, row.subset))
        for ranked in (pixels, pixels.brain) if pixels is not None else ():
            steps = ranked.steps if ranked is not None else None
            if isinstance(steps, GroupedSteps):
                report.width = max([report.width, *(high - low for low, high in steps.ends().values() if high == high)])
                take_close_sites(wanted, told, GROUPED)
        compare(report, "result.json", "slices and pixel statistics", where, wanted, told)


def _check_derived(
    report: CellReport, result: CellResult, statistics: Statistics, again: Mapping[RowKey, RowReplicates | None]
) -> None:
    from anyadbench.metrics.core.ranking import curve_points

    check_replicates(report, result, statistics, again)
    if inside(report.folder, "scores/curves.json") is not None:
        curves = {f"{test}|{label}": curve_points(part.steps) for (test, label), part in statistics.pixels.items()}
        try:
            compare(
                report,
                "scores/curves.json",
                "pixel statistics",
                "",
                curves,
                read_json(report.folder, "scores/curves.json"),
            )
        except UserError as error:
            report.problems.append(str(error))


def _check_kept(report: CellReport, statistics: Statistics) -> None:
    from anyadbench.results.kept_maps import read_maps

    if inside(report.folder, "scores/maps.npz") is None:
        return
    kept = read_maps(report.folder)
    if isinstance(kept, str):
        report.problems.append(kept)
        return
    scores: dict[RowKey, dict[tuple[str, int], float]] = {
        place: {(record["scan"], record["slice"]): record["image_score"] for record in records}
        for place, records in statistics.slices.items()
    }
    for item in kept.slices:
        for label, value in item.image_scores.items():
            report.numbers += 1
            if scores.get((item.test, label), {}).get((item.scan, item.index)) != value:
                where = f"slice {item.index} of {item.scan}, {label}"
                report.note("scores/maps.npz", f"{where}: its slice score is not the one in slices.csv.")
