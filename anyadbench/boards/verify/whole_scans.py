"""Whole scans, scores of subjects, and sites must be those of the protocol's test scans, all of them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from anyadbench.boards.aggregate.recompute import Statistics
from anyadbench.boards.verify.findings import CellReport, at
from anyadbench.protocols.model import Protocol
from anyadbench.results.schema import CellResult
from anyadbench.sequences import AS_AVAILABLE

if TYPE_CHECKING:
    from anyadbench.metrics.scans.whole_scans import RowScans

_SCANS, _HEALTHY, _SITES = "scores/scans.npz", "scores/healthy.csv", "scores/sites.csv"
_BOXES = "scores/boxes.json"
_CLOSE_ENDS = 0.05
"""How far the ends of a site's interval may move when a published cell's pixels are grouped."""


def check_whole_scans(
    report: CellReport, result: CellResult, protocol: Protocol, manifest: dict[str, Any], statistics: Statistics
) -> None:
    """Check what the numbers of whole scans are computed from; the numbers themselves are recomputed with the rows."""
    check_boxes(report, statistics)
    rows = statistics.whole.rows
    scored = {(row.test, row.subset) for row in result.rows if row.n_slices} if protocol.scoring.volumes else set()
    for place in sorted(scored - set(rows)):
        report.note(_SCANS, f"{', '.join(place)} has no whole scans, which the protocol asks for.")
    for place in sorted(set(rows) - {(row.test, row.subset) for row in result.rows}):
        report.note(_SCANS, f"{', '.join(place)} is no row of the result.")
    if rows and not protocol.scoring.volumes:
        report.note(_SCANS, "holds whole scans, which the protocol does not ask for.")
        return
    thresholds = {(row.test, row.subset): row.threshold for row in result.rows}
    for place, row in rows.items():
        where = ", ".join(place)
        found = thresholds.get(place)
        report.numbers += 2
        if row.threshold != (None if found is None else found.value):
            report.note(_SCANS, f"{where}: the threshold is not that of the row.")
        if row.rule != protocol.scoring.rule().sentence:
            report.note(_SCANS, f"{where}: lesions are not found by the protocol's rule.")
        _check_scans(report, where, row, statistics)
    _check_complete(report, rows)
    _check_subjects(report, protocol, manifest, statistics)


def check_boxes(report: CellReport, statistics: Statistics) -> None:
    """Check that the pictures of a row's boxes are its slices, and that its rows agree on the boxes of each picture."""
    known: dict[tuple[str, str, int], list[list[float]]] = {}
    for (test, subset), row in statistics.whole.boxes.items():
        listed = {
            (record["subject"], record["scan"], record["slice"]): record["label"]
            for record in statistics.slices.get((test, subset), [])
        }
        found = {(name, *place): image for name, place, image in zip(row.subjects, row.slices, row.images, strict=True)}
        report.numbers += len(found)
        where = f"{test}, {subset}"
        for _, scan, number in sorted(set(found) ^ set(listed))[:1]:
            report.note(_BOXES, f"{where}: slice {number} of {scan} is only in one of it and the slice table.")
        for key, image in found.items():
            if bool(len(image.boxes)) != bool(listed.get(key, len(image.boxes))):
                report.note(_BOXES, f"{where}: slice {key[2]} of {key[1]} has boxes against its label, or none.")
            boxes = image.boxes.tolist()
            if known.setdefault((test, *key[1:]), boxes) != boxes:
                report.note(_BOXES, f"{where}: slice {key[2]} of {key[1]} has other boxes than in another row.")


def _check_scans(report: CellReport, where: str, row: RowScans, statistics: Statistics) -> None:
    """Check that the scans of the row's slices are among its scans, each with at least the lesion of its slices."""
    owner = dict(zip(row.scans, row.subjects, strict=True))
    native = {scan: record.truth for scan, record in zip(row.scans, row.records, strict=True)}
    area: dict[str, int] = defaultdict(int)
    whole_grid = _same_grid(statistics, row)
    for record in statistics.slices.get((row.test, row.subset), []):
        if owner.get(record["scan"]) != record["subject"]:
            report.note(_SCANS, f"{where}: {record['scan']} of {record['subject']} is in the slice table only.")
            return
        area[record["scan"]] += record["lesion_px"]
    for scan, pixels in area.items():
        report.numbers += 1
        if whole_grid and native[scan] < pixels:
            text = f"{where}: {scan} has {native[scan]} lesion voxels, but its slices alone have {pixels}."
            report.note(_SCANS, text)


def _same_grid(statistics: Statistics, row: RowScans) -> bool:
    """Whether the slice table counts lesions on the scoring grid: then its pixels are those of the pixel statistics."""
    pixels = statistics.pixels.get((row.test, row.subset))
    records = statistics.slices.get((row.test, row.subset), [])
    listed = sum(record["lesion_px"] for record in records if record["label"])
    return pixels is not None and pixels.steps.lesion_pixels == listed


def _check_complete(report: CellReport, rows: Any) -> None:
    """Check that a row has the scans that the rows of its single sequences share: no row may omit one."""
    for (test, subset), row in rows.items():
        singles = [rows.get((test, name)) for name in subset.split("+")]
        if subset == AS_AVAILABLE or len(singles) < 2 or None in singles:
            continue
        shared = set.intersection(*(set(single.scans) for single in singles))
        for scan in sorted(set(row.scans) ^ shared)[:1]:
            report.note(_SCANS, f"{test}, {subset}: {scan} is in only one of this row and those of its sequences.")


def _check_subjects(report: CellReport, protocol: Protocol, manifest: dict[str, Any], statistics: Statistics) -> None:
    """Check that everyone tested is a test subject, and nobody who validates is one."""
    datasets = {test.name: test.dataset for test in protocol.tests} | {"": protocol.train}
    parts = {name: _parts(manifest, dataset) for name, dataset in datasets.items()}
    for row in statistics.whole.rows.values():
        for name in sorted(set(row.subjects) - parts[row.test]["test"])[:1]:
            report.note(_SCANS, f"{row.test}, {row.subset}: {name} is no test subject of manifest.json.")
    for one in statistics.whole.scores:
        if one.test not in parts or one.subject not in parts[one.test][one.part]:
            report.note(_HEALTHY, f"{one.subject} is no {one.part} subject of manifest.json.")
            break
    for test, sites in statistics.whole.sites.items():
        for name in sorted(set(sites) - parts.get(test, {"test": set()})["test"])[:1]:
            report.note(_SITES, f"{name} is no test subject of manifest.json.")


def _parts(manifest: dict[str, Any], dataset: str) -> dict[str, set[str]]:
    """Return the subjects of the parts of a data set, healthy ones included."""
    found = {}
    for part in ("val", "test"):
        listed = at(manifest, f"data.{dataset}.selection.subjects.{part}") or []
        healthy = at(manifest, f"data.{dataset}.selection.healthy.subjects.{part}") or []
        found[part] = {str(name) for name in (*listed, *healthy)}
    return found


def take_close_sites(wanted: dict[str, Any], told: dict[str, Any], close: float) -> None:
    """Accept the numbers of sites that a run computed exactly and a published cell's groups give nearly.

    Args:
        wanted: The row that its statistics give; close numbers are replaced by those of the result.
        told: The row of the result.
        close: Largest difference of a metric.
    """
    for ours, theirs in zip(wanted.get("sites", []), told.get("sites", []), strict=False):
        for name, value in theirs["metrics"].items():
            if _near(ours["metrics"].get(name), value, close):
                ours["metrics"][name] = value
        if ours["intervals"].keys() == theirs["intervals"].keys():
            for name, ends in theirs["intervals"].items():
                pairs = zip(ours["intervals"][name], ends, strict=True)
                if all(_near(one, other, _CLOSE_ENDS) for one, other in pairs):
                    ours["intervals"][name] = ends


def _near(one: float | None, other: float | None, close: float) -> bool:
    return one is not None and other is not None and abs(one - other) <= close
