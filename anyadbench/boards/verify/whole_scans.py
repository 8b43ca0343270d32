"""Whole scans, scores of subjects, and sites must be those of the protocol's test scans, all of them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.boards.aggregate.recompute import Statistics
from anyadbench.boards.verify.findings import CellReport
from anyadbench.boards.verify.people import check_people
from anyadbench.metrics.lesions.rules import OverlapRule, Rule
from anyadbench.protocols.model import Protocol
from anyadbench.results.schema import CellResult
from anyadbench.sequences import AS_AVAILABLE

if TYPE_CHECKING:
    from jaxtyping import Float64

    from anyadbench.metrics.lesions.record import ScanRecord
    from anyadbench.metrics.scans.whole_scans import RowScans

_SCANS, _BOXES = "scores/scans.npz", "scores/boxes.json"
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
        _check_thresholds(report, where, row, protocol.scoring.rule())
    _check_complete(report, rows)
    check_people(report, result, protocol, manifest, statistics)


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


def _check_thresholds(report: CellReport, where: str, row: RowScans, rule: Rule) -> None:
    """Check the counts of each scan against the thresholds that they are of, and against the rule for lesions."""
    grid = np.array(row.grid, dtype=np.float64)
    if not np.isfinite(grid).all() or (np.diff(grid) > 0).any():
        report.note(_SCANS, f"{where}: the common thresholds do not fall.")
        return
    for scan, record in zip(row.scans, row.records, strict=True):
        report.numbers += 1
        wrong = _impossible(record, grid, row.threshold, rule)
        if wrong:
            report.note(_SCANS, f"{where}: {scan} {wrong}.")
            return


def _impossible(record: ScanRecord, grid: Float64[np.ndarray, " t"], threshold: float | None, rule: Rule) -> str:
    """Return why the counts of a scan contradict its thresholds or the rule; empty if they do not."""
    overlap = rule.overlap if isinstance(rule, OverlapRule) else 0.0
    if overlap and int(record.lesion_voxels.sum()) != record.truth:
        return f"has {record.truth} lesion voxels, but its lesions have {int(record.lesion_voxels.sum())}"
    if threshold is None or not record.has_threshold:
        return ""
    more = (grid >= threshold) & (record.grid_predicted > record.predicted)
    fewer = (grid <= threshold) & (record.grid_predicted < record.predicted)
    if (more | fewer).any():
        return f"flags {record.predicted} voxels at its threshold, against the counts at the common thresholds"
    found = record.lesion_found
    if not (record.lesion_scores[found].astype(np.float64) > threshold).all():
        return "has lesions that are found at the threshold, but score below it"
    least = int(np.ceil(overlap * record.lesion_voxels[found] - 1e-9).sum())
    if record.hit < least:
        return f"flags {record.hit} lesion voxels, but the lesions that are found need {least}"
    return ""


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
