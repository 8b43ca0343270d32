"""The control row: what the area of brain in a slice tells about lesions.

Slices low and high in the head hold less brain and fewer lesions, so this number alone can score well above chance. A
method that does not beat it has learned where lesions are common, not what they look like.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from anyadbench.boards.model import Estimate, Line
from anyadbench.results.read import CellRecord, inside

CONTROL = "control:brain-area"
"""Key of the control in place of a variant's."""

LABEL = "Brain area (control)"
MAX_BYTES = 256 * 2**20
_IMAGE = ("image_auroc", "image_ap", "image_f1")

Slices = dict[tuple[str, str], list[tuple[str, str, float, bool]]]


def read_slices(folder: Path) -> Slices | None:
    """Read subject, scan, brain area and label of each slice from ``scores/slices.csv``, by test set and subset.

    Returns ``None`` if the file is missing, too large, or damaged anywhere.
    """
    path = inside(folder, "scores/slices.csv")
    if path is None or path.stat().st_size > MAX_BYTES:
        return None
    found: Slices = {}
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                label = {"0": False, "1": True, "false": False, "true": True}[row["label"].strip().lower()]
                brain = float(row["brain"])
                if not math.isfinite(brain):
                    return None
                found.setdefault((row["test"], row["subset"]), []).append((row["subject"], row["scan"], brain, label))
    except (OSError, ValueError, KeyError, AttributeError, TypeError, csv.Error):
        return None
    return found


def control_lines(cells: Iterable[CellRecord], tests: Sequence[str], subsets: Sequence[str]) -> list[Line]:
    """Compute the control for every test set and subset that any cell's slice table holds.

    Tables are read only until all places are filled, since cells of one protocol share their slices.
    """
    wanted = {(test, subset) for test in tests for subset in subsets}
    found: dict[tuple[str, str], Line] = {}
    for cell in cells:
        if len(found) == len(wanted):
            break
        if cell.result is None or cell.result.kind == "reported":
            continue
        served = {(row.test, row.subset) for row in cell.result.rows if row.n_slices}
        if not (served & wanted) - found.keys():
            continue
        table = read_slices(cell.folder) or {}
        for place in sorted(served & wanted & table.keys() - found.keys()):
            found[place] = _line(place, table[place])
    return [found[test, subset] for test in tests for subset in subsets if (test, subset) in found]


def _line(place: tuple[str, str], slices: list[tuple[str, str, float, bool]]) -> Line:
    from anyadbench.metrics import image_metrics

    scores, labels = [row[2] for row in slices], [row[3] for row in slices]
    values = image_metrics(scores, labels)
    undefined = "Only one kind of slice (with or without a lesion) is in this subset."
    metrics = {
        name: Estimate(values[name]) if math.isfinite(values[name]) else Estimate(None, reason=undefined)
        for name in _IMAGE
    }
    return Line(
        variant=CONTROL,
        test=place[0],
        subset=place[1],
        n_subjects=len({row[0] for row in slices}),
        n_scans=len({row[:2] for row in slices}),
        n_slices=len(slices),
        n_normal=labels.count(False),
        n_abnormal=labels.count(True),
        metrics=metrics,
        covered=any(estimate.value is not None for estimate in metrics.values()),
    )
