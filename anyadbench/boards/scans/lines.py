"""Whole scans, alarms and sites of a line: several seeds become a mean, and nothing is imputed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyadbench.boards.aggregate.model import BoxLine, Ends, Estimate, Line, ScanLine
from anyadbench.boards.aggregate.recompute import read_whole_scans
from anyadbench.errors import UserError
from anyadbench.results.read import CellRecord
from anyadbench.results.schema import Boxes, CellResult, Row, Scans, Site

if TYPE_CHECKING:
    from anyadbench.metrics.scans.whole_scans import RowScans, WholeScans

Found = tuple[CellResult, Row, CellRecord, int]


def added_to_line(found: Sequence[Found]) -> dict[str, Any]:
    """Return the fields ``scans``, ``alarms``, ``sites`` and ``boxes`` of `anyadbench.boards.aggregate.model.Line`.

    Args:
        found: Result, row and cell of each seed.
    """
    rows = [row for _, row, *_ in found]
    alarms = tuple((result.seed, one) for result, row, *_ in found for one in row.alarms)
    boxes = _boxes([row.boxes for row in rows])
    return {"scans": _scans(found), "alarms": alarms, "sites": _sites([row.sites for row in rows]), "boxes": boxes}


def stored_scans(cell: CellRecord, row: Row) -> RowScans | None:
    """Return the scans that a cell stores of a row; ``None`` if it has none, or they cannot be read."""
    try:
        return _stored(cell.folder).rows.get((row.test, row.subset))
    except UserError:
        return None


def line_scans(line: Line) -> RowScans | None:
    """Return the scans of a line's first seed."""
    for cell, number in line.sources:
        if cell.result is not None and line.scans is not None:
            return stored_scans(cell, cell.result.rows[number])
    return None


@lru_cache(maxsize=64)
def _stored(folder: Path) -> WholeScans:
    return read_whole_scans(folder)


def _scans(found: Sequence[Found]) -> ScanLine | None:
    parts = [row.scans for _, row, *_ in found]
    known = [one for one in parts if one is not None]
    if not known or len(known) < len(parts):
        return None
    first = known[0]
    names = list(dict.fromkeys(name for one in known for name in one.metrics))
    ends, lacking = _ends(found, known)
    bins = [[one.model_dump() for one in part.bins] for part in known]
    same = all([one["lesions"] for one in part] == [one["lesions"] for one in bins[0]] for part in bins)
    return ScanLine(
        rule=first.rule,
        n_subjects=first.n_subjects,
        n_scans=first.n_scans,
        n_lesions=first.n_lesions,
        metrics={name: _estimate(name, known, ends.get(name, (None, None)), lacking.get(name, "")) for name in names},
        bins=tuple(_mean_bins(bins)) if same else (),
    )


def _estimate(name: str, parts: Sequence[Scans], ends: Ends, lacking: str) -> Estimate:
    values = [part.metrics.get(name) for part in parts]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        reasons = [part.reasons.get(name, "") for part in parts if part.metrics.get(name) is None]
        return Estimate(None, reason=reasons[0] or "The result gives no reason.")
    return Estimate(sum(known) / len(known), *ends, min(known), max(known), no_interval=lacking)


def _ends(found: Sequence[Found], parts: Sequence[Scans]) -> tuple[dict[str, Ends], dict[str, str]]:
    """Return intervals by name, and why the others lack one: of one seed as stored, of several from their records."""
    from anyadbench.metrics.intervals.interval import WHOLE_SCANS, reliable
    from anyadbench.metrics.intervals.jackknife import over_seeds
    from anyadbench.metrics.scans.scan_numbers import interval_key, scan_intervals, scan_replicates

    first = parts[0]
    if len(parts) == 1:
        # A result of an earlier release may hold intervals that are not printed any more.
        lacking = {name: why for name in WHOLE_SCANS if (why := reliable(name, first.n_subjects))}
        for name in first.metrics:
            why = first.reasons.get(interval_key(name)) or first.reasons.get("intervals", "")
            if name not in first.intervals and name not in lacking:
                lacking[name] = why
        return {name: ends for name, ends in first.intervals.items() if name not in lacking}, lacking
    stored = [stored_scans(cell, row) for _, row, cell, _ in found]
    lines = [scan_replicates(one) for one in stored if one is not None]
    if len(lines) < len(parts) or len({line.subjects for line in lines}) > 1:
        return {}, dict.fromkeys(first.metrics, "No interval: the scans of a seed cannot be read, or are of others.")
    made = scan_intervals(over_seeds(lines), [one for one in stored if one is not None])
    ends: dict[str, Ends] = {name: (one.low, one.high) for name, one in made.items() if not one.reason}
    return ends, {name: one.reason for name, one in made.items() if one.reason}


def _mean_bins(bins: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Average found lesions and false alarms over seeds; the lesions are the same in all."""
    means = []
    for same in zip(*bins, strict=True):
        one = dict(same[0])
        for name in ("found", "alarms"):
            values = [item[name] for item in same]
            one[name] = None if None in values else sum(values) / len(values)
        means.append(one)
    return means


def _boxes(parts: Sequence[Boxes | None]) -> BoxLine | None:
    """Return the boxes of a line, averaged over seeds; intervals are those of a single seed.

    Args:
        parts: The boxes of each seed's row.
    """
    known = [one for one in parts if one is not None]
    if not known or len(known) < len(parts):
        return None
    names = list(dict.fromkeys(name for one in known for name in one.metrics))
    first = known[0]
    return BoxLine(
        first.n_subjects, first.n_images, first.n_boxes, {name: _box_estimate(name, known) for name in names}
    )


def _box_estimate(name: str, parts: Sequence[Boxes]) -> Estimate:
    from anyadbench.metrics.intervals.interval import BOXES, reliable

    values = [value for part in parts if (value := part.metrics.get(name)) is not None]
    if len(values) < len(parts):
        reasons = [part.reasons.get(name, "") for part in parts if part.metrics.get(name) is None]
        return Estimate(None, reason=reasons[0] or "The result gives no reason.")
    low, high = parts[0].intervals.get(name, (None, None)) if len(parts) == 1 else (None, None)
    why = "Intervals of boxes are those of single seeds."
    if len(parts) == 1:
        reasons_of = parts[0].reasons
        why = reliable(name, parts[0].n_subjects) if name in BOXES else ""
        low, high = (None, None) if why else (low, high)
        why = why or reasons_of.get(f"{name}_interval") or reasons_of.get("intervals", "")
    return Estimate(
        sum(values) / len(values), low, high, min(values), max(values), no_interval=why if low is None else ""
    )


def _sites(parts: Sequence[Sequence[Site]]) -> tuple[Site, ...]:
    if len(parts) == 1:
        return tuple(parts[0])
    if len({tuple(site.site for site in part) for part in parts}) > 1:
        return ()
    found = []
    for same in zip(*parts, strict=True):
        means: dict[str, float | None] = {}
        for name in same[0].metrics:
            values = [one.metrics.get(name) for one in same]
            known = [value for value in values if value is not None]
            means[name] = sum(known) / len(known) if len(known) == len(values) else None
        reason = same[0].reason or "Intervals by site are those of single seeds."
        found.append(same[0].model_copy(update={"metrics": means, "intervals": {}, "reason": reason}))
    return tuple(found)
