"""Slice scores normalised by height must follow from the slice scores, by the fits that the manifest lists."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from anyadbench.boards.aggregate.recompute import Statistics
from anyadbench.boards.verify.findings import CellReport, at
from anyadbench.metrics.rows.height import HeightFit
from anyadbench.metrics.rows.row_numbers import HEIGHT_SCORE
from anyadbench.protocols.model import Protocol, TestSet
from anyadbench.results.cellfiles import RowKey, SliceRecord
from anyadbench.results.schema import CellResult
from anyadbench.sequences import AS_AVAILABLE, format_subset

CLOSE = 1e-9
"""Relative error of a normalised score: sums over four terms may differ in their last bits."""

_TABLE = "scores/slices.csv"


def fits_of(manifest: Mapping[str, Any]) -> dict[str, HeightFit]:
    """Return the fits that a manifest lists, by subset label.

    Raises:
        ValueError: If one is not of the form that a run writes; `KeyError` and `TypeError` mean the same.
    """
    found = {}
    for label, entry in (at(manifest, "heights") or {}).items():
        a, b, c, d = map(float, entry["coefficients"])
        spread, low, high = (float(entry[name]) for name in ("spread", "low", "high"))
        fit = HeightFit((a, b, c, d), spread, int(entry["slices"]), low, high)
        known = all(map(math.isfinite, (*fit.coefficients, fit.spread)))
        if not known or fit.spread <= 0 or not 0 <= fit.low <= fit.high <= 1:
            raise ValueError(label)
        found[label] = fit
    return found


def check_heights(
    report: CellReport, result: CellResult, protocol: Protocol, manifest: dict[str, Any], statistics: Statistics
) -> None:
    """Check what a cell alone shows: who has such a score, and that it can be one at some height and brain area.

    The height in the head and the area of the shown sequences are not in the cell; a check against the data computes
    the scores again. The fits of other programs' maps are not stored.
    """
    if result.kind == "external":
        return
    fits, tests = fits_of(manifest), {test.name: test for test in protocol.tests}
    for (test, subset), records in statistics.slices.items():
        if test not in tests:
            continue  # named before
        where = f"{test}, {subset}"
        if not protocol.scoring.normalise_height and any(HEIGHT_SCORE in one for one in records):
            report.note(_TABLE, f"{where}: has scores normalised by height, which protocol.toml does not ask for.")
            continue
        size = _slice_cm2(manifest) if tests[test].dataset == protocol.train else math.inf
        own = _own_subsets(protocol, tests[test], statistics.slices) if subset == AS_AVAILABLE else {}
        for record in records:
            label = own.get(record["scan"]) if subset == AS_AVAILABLE else subset
            report.numbers += 1
            wrong = "" if label is None else _wrong(record, fits.get(label), size)
            if wrong:
                name = f"the score normalised by height of slice {record['slice']} of {record['scan']}"
                report.note(_TABLE, f"{where}: {name} {wrong}")
                break


def _wrong(record: SliceRecord, fit: HeightFit | None, size: float) -> str:
    """Return what contradicts a slice's normalised score; empty if nothing does."""
    score, given = record["image_score"], record.get(HEIGHT_SCORE)
    if fit is None:
        return "" if given is None else "has no fit in manifest.json."
    if given is None:
        return "is missing, but manifest.json has a fit."
    low, high = _expected(fit, size)
    slack = CLOSE * max(abs(score), abs(given) * fit.spread, *(abs(end) for end in (low, high) if math.isfinite(end)))
    if low - slack <= score - given * fit.spread <= high + slack:
        return ""
    return f"is {given:.4g}, which its score {score:.4g} does not give at any height and brain area."


def _expected(fit: HeightFit, size: float) -> tuple[float, float]:
    """Return the least and the most that a fit expects of a slice, for areas up to a size in cm^2."""
    a, b, c, d = fit.coefficients
    heights = [fit.low, fit.high, min(max(-b / (2 * c), fit.low), fit.high) if c else fit.low]
    values = [a + b * height + c * height**2 for height in heights]
    areas = (0.0, d * size if d else 0.0)
    return min(values) + min(areas), max(values) + max(areas)


def _own_subsets(protocol: Protocol, test: TestSet, rows: Mapping[RowKey, Iterable[SliceRecord]]) -> dict[str, str]:
    """Return the sequences of each scan as a subset, from the rows of single ones; nothing without all such rows."""
    labels = {format_subset([name]): name for name in protocol.sequences}
    if not labels.keys() <= set(protocol.rows(test)):
        return {}
    found: dict[str, list[str]] = {}
    for label, name in labels.items():
        for scan in {record["scan"] for record in rows.get((test.name, label), ())}:
            found.setdefault(scan, []).append(name)
    return {scan: format_subset(names) for scan, names in found.items()}


def _slice_cm2(manifest: Mapping[str, Any]) -> float:
    """Return the area of a slice of the training data, which no brain exceeds; infinite if it is not recorded."""
    grid, spacing = at(manifest, "input.grid"), at(manifest, "input.spacing_mm")
    return math.prod(grid) * math.prod(spacing) / 100 if grid and spacing else math.inf
