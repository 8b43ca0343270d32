"""Columns of whole scans, alarms and sites in ``leaderboard.csv``, and ``scans.csv`` with one row per scan."""

from __future__ import annotations

import csv
import io

from anyadbench.boards.aggregate.model import Board, Line
from anyadbench.boards.render.text import clean, six
from anyadbench.boards.scans.boxes import box_columns
from anyadbench.boards.scans.lines import line_scans

_COLUMNS = (
    "variant", "test", "subset", "seed", "subject", "scan", "truth_ml", "flagged_ml", "dice", "dice_best", "lesions",
    "found", "alarms",
)  # fmt: skip


def line_columns(line: Line) -> dict[str, str]:
    """Return the cells of a line by column; none where it has none of these numbers."""
    cells = box_columns(line)
    if line.scans is not None:
        scans = line.scans
        cells |= {"scans_subjects": str(scans.n_subjects), "scans_n": str(scans.n_scans)}
        cells |= {"scans_lesions": str(scans.n_lesions)}
        for name, one in scans.metrics.items():
            ends = {f"scans_{name}_low": six(one.low), f"scans_{name}_high": six(one.high)}
            cells |= {f"scans_{name}": six(one.value), **ends}
        for counted in scans.bins:
            stem = f"scans_from_{counted['low_ml']:g}ml"
            cells[f"{stem}_lesions"] = str(counted["lesions"])
            for part in ("found", "alarms"):
                cells[f"{stem}_{part}"] = "" if counted[part] is None else f"{counted[part]:g}"
    for seed, alarm in line.alarms:
        stem = f"alarms_{100 * alarm.promise:g}pc" + (f"_seed{seed}" if len(line.seeds) > 1 else "")
        cells |= {f"{stem}_validation": str(alarm.n_validation), f"{stem}_healthy": str(alarm.n_healthy)}
        cells |= {f"{stem}_{part}": six(getattr(alarm, part)) for part in ("threshold", "rate", "low", "high", "p")}
        cells |= {f"{stem}_sensitivity": six(alarm.sensitivity), f"{stem}_reason": _safe(alarm.reason)}
        cells[f"{stem}_broken"] = "" if alarm.threshold is None else str(alarm.broken).lower()
    for site in line.sites:
        stem = f"site_{_safe(site.site)}"
        cells[f"{stem}_subjects"] = str(site.n_subjects)
        for name, value in site.metrics.items():
            low, high = site.intervals.get(name, (None, None))
            cells |= {f"{stem}_{name}": six(value), f"{stem}_{name}_low": six(low), f"{stem}_{name}_high": six(high)}
    return cells


def scans_csv(board: Board) -> str:
    """Return one row per variant, subset and scan of its first seed; empty if no cell stores whole scans."""
    from anyadbench.metrics.scans.whole_scans import scan_table

    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    count = 0
    for line in board.lines:
        row = line_scans(line)
        for one in scan_table(row) if row is not None else ():
            label = board.variant(line.variant).label
            values = [six(value) if isinstance(value, float) else value for value in one.values()]
            texts = [_safe(str(value)) if isinstance(value, str) else value for value in values]
            writer.writerow([_safe(label), _safe(line.test), _safe(line.subset), line.seeds[0], *texts])
            count += 1
    return stream.getvalue() if count else ""


def _safe(value: str) -> str:
    """Neutralise text that a spreadsheet would read as a formula, and keep it on one line."""
    shown = clean(value).strip()
    return "'" + shown if shown.startswith(("=", "+", "-", "@")) else shown
