"""The reference ranges of a cell, for its card."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anyadbench.predict.findings.compare import FEWEST, FEWEST_SLICES, normal_range

if TYPE_CHECKING:
    from anyadbench.predict.cell import TrainedCell

_HEAD = ("shown", "normals", "threshold", "share of the brain above it", "score inside the brain", "range")


def reference_ranges(cell: TrainedCell) -> str:
    """Return a table of what the validation normals have above the threshold, and of their scores, by subset."""
    if cell.normals is None:
        return (
            "The cell was run before thresholds were taken inside the brain: prediction writes no mask, percentiles or "
            "reference ranges unless the cell is run again or calibrated ('anyadbench calibrate')."
        )
    lines = ["| " + " | ".join(_HEAD) + " |", "| " + " | ".join("---" for _ in _HEAD) + " |"]
    for label, own in cell.normals.subsets.items():
        whole = own.n_subjects >= FEWEST
        shares = own.scan_shares(own.threshold) if whole else own.shares(own.threshold)
        scores = own.scan_scores if whole else own.slices["brain_score"].astype(np.float64)
        people = f"{own.n_subjects} subject{'' if own.n_subjects == 1 else 's'}"
        normals = f"{len(shares)} {'scans' if whole else 'slices'} of {people}"
        if own.n_slices < FEWEST_SLICES:
            lines.append(f"| {label} | {normals} | {own.threshold:.4g} | – | – | too few normals |")
            continue
        low, high, kind = normal_range(shares)
        least, most, _ = normal_range(scores)
        ends = f"{low:.2%} to {high:.2%} | {least:.4g} to {most:.4g}"
        lines.append(f"| {label} | {normals} | {own.threshold:.4g} | {ends} | {kind} |")
    note = (
        f"Normals are the {cell.normals.described} of the cell's data set; the threshold is the 99th percentile "
        "of their brain pixels."
    )
    return "\n".join([*lines, "", note])
