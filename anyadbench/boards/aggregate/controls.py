"""The control row: what the brain area of a slice alone predicts about lesions.

Slices low and high in the head hold less brain and fewer lesions, so this number alone can score well above chance. A
method that does not beat it has learned where lesions are common, not what they look like.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from anyadbench.boards.aggregate.model import Estimate, Line
from anyadbench.errors import UserError
from anyadbench.results.cellfiles import RowKey, SliceRecord, read_slice_table
from anyadbench.results.read import CellRecord

CONTROL = "control:brain-area"
"""Key of the control, used like a variant's key."""

LABEL = "Brain area (control)"
_IMAGE = ("image_auroc", "image_ap", "image_f1")


def control_lines(cells: Iterable[CellRecord], tests: Sequence[str], subsets: Sequence[str]) -> list[Line]:
    """Compute the control for every test set and subset in any cell's slice table.

    Tables are read only until every row is filled, since cells of one protocol share their slices.
    """
    wanted = {(test, subset) for test in tests for subset in subsets}
    found: dict[RowKey, Line] = {}
    for cell in cells:
        if len(found) == len(wanted):
            break
        if cell.result is None or cell.result.kind == "reported":
            continue
        served = {(row.test, row.subset) for row in cell.result.rows if row.n_slices}
        if not (served & wanted) - found.keys():
            continue
        try:
            table = read_slice_table(cell.folder)
        except UserError:  # the next cell of the protocol has the same slices
            continue
        for place in sorted(served & wanted & table.keys() - found.keys()):
            found[place] = _line(place, table[place])
    return [found[test, subset] for test in tests for subset in subsets if (test, subset) in found]


def _line(place: RowKey, slices: Sequence[SliceRecord]) -> Line:
    from anyadbench.metrics import image_metrics

    scores, labels = [row["brain"] for row in slices], [bool(row["label"]) for row in slices]
    values = image_metrics(scores, labels)
    undefined = "This subset has only one kind of slice (with or without a lesion)."
    metrics = {
        name: Estimate(values[name]) if math.isfinite(values[name]) else Estimate(None, reason=undefined)
        for name in _IMAGE
    }
    return Line(
        variant=CONTROL,
        test=place[0],
        subset=place[1],
        n_subjects=len({row["subject"] for row in slices}),
        n_scans=len({(row["subject"], row["scan"]) for row in slices}),
        n_slices=len(slices),
        n_normal=labels.count(False),
        n_abnormal=labels.count(True),
        metrics=metrics,
        covered=any(estimate.value is not None for estimate in metrics.values()),
    )
