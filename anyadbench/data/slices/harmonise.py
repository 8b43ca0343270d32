"""Harmonising scanners: from a scan's own statistics to the curve that maps its values to [0, 1].

Every curve depends on one sequence of one scan, so that a hidden sequence reaches nothing. The rule ``histogram`` is
the landmark matching of Nyúl, Udupa and Zhang (IEEE TMI 2000, 19(2):143-150) with deciles; its standard scale comes
from the scans of the training normals and is stored with the fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.data.slices.rules import HISTOGRAM, PERCENTILE, ZSCORE, IntensityRules
from anyadbench.data.trees.scan_slices import LANDMARKS, landmark_column, percentile_column
from anyadbench.errors import UserError
from anyadbench.sequences import SHORT

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64, Int

    from anyadbench.data.store.store import SliceStore

Standard = Mapping[str, Sequence[float]]
"""The standard scale: the height of each landmark, by sequence."""

BELOW, ABOVE = 3.0, 5.0
"""Standard deviations of the brain below and above its mean that ``zscore`` maps to 0 and 1: lesions reach far up."""

FLOOR = 1 / 255
"""Smallest value of brain under ``zscore`` and ``histogram``: only background is 0."""


def columns_of(rules: IntensityRules, sequence: str) -> list[str]:
    """Return the columns of ``scans.csv`` that the scale of a sequence depends on."""
    if rules.harmonise == ZSCORE:
        return [f"mean_{sequence}", f"sd_{sequence}"]
    if rules.harmonise == HISTOGRAM:
        return [landmark_column(percentile, sequence) for percentile in LANDMARKS]
    return [percentile_column(rules.percentile, sequence)]


def curve(
    rules: IntensityRules, sequence: str, column: Callable[[str], float], heights: Sequence[float] | None = None
) -> Float64[np.ndarray, "K 2"]:
    """Return the points (value in source units, value in [0, 1]) between which a scan's sequence is mapped linearly.

    Args:
        rules: ``zscore`` or ``histogram``.
        sequence: The sequence.
        column: Returns an entry of the scan's row of ``scans.csv``.
        heights: For ``histogram``: where the landmarks go.

    Raises:
        UserError: If ``histogram`` has no standard scale for the sequence.
    """
    found = [float(column(name)) for name in columns_of(rules, sequence)]
    if rules.harmonise == ZSCORE:
        mean, deviation = found
        return np.array([[mean - BELOW * deviation, 0.0], [mean + ABOVE * deviation, 1.0]])
    if heights is None:
        raise UserError(
            f"Histogram matching has no standard scale for {SHORT[sequence]}, because no training normal has it; write "
            f'harmonise = "{PERCENTILE}" or "{ZSCORE}" below [intensity] in the protocol.'
        )
    return np.stack([np.array(found), np.asarray(heights, dtype=np.float64)], axis=1)


def map_values(values: Float32[np.ndarray, "H W"], points: Float64[np.ndarray, "K 2"]) -> Float32[np.ndarray, "H W"]:
    """Map the brain of a slice by a curve; background stays 0."""
    out = np.interp(values, points[:, 0], points[:, 1]).astype(np.float32)
    np.clip(out, np.float32(FLOOR), 1, out=out)
    out[values == 0] = 0
    return out


def scaled_by_curves(
    values: Float32[np.ndarray, "N S H W"],
    present: Bool[np.ndarray, "N S"],
    store: SliceStore,
    rows: Int[np.ndarray, " N"],
    sequences: Sequence[str],
    rules: IntensityRules,
    heights: Sequence[Sequence[float] | None],
) -> Float32[np.ndarray, "N S H W"]:
    """Map slices of a store by the curves of their scans; absent sequences stay exactly 0.

    Args:
        values: Slices in source units.
        present: Which sequences each has.
        store: Where they come from.
        rows: Their indices in the store.
        sequences: The sequence in each slot.
        rules: ``zscore`` or ``histogram``.
        heights: For ``histogram``: where the landmarks of each slot go.

    Raises:
        UserError: If ``histogram`` has no standard scale for a slot.
    """
    out = np.zeros_like(values)
    owner = store.scan_of_row[np.asarray(rows, dtype=np.int64)]
    for scan in np.unique(owner):
        row = store.scans.iloc[int(scan)]
        for place, name in enumerate(sequences):
            members = np.flatnonzero((owner == scan) & present[:, place])
            if len(members):
                points = curve(rules, name, row.__getitem__, heights[place])
                for member in members:
                    out[member, place] = map_values(values[member, place], points)
    return out


def fit_standard(
    store: SliceStore, normals: Int[np.ndarray, " n"], sequences: Sequence[str]
) -> dict[str, tuple[float, ...]]:
    """Return the standard scale: of each sequence, the mean over scans of its landmarks on the percentile scale.

    A scan's landmarks are divided by its highest, so that the scans of training look on average as under
    ``percentile``. Landmarks are those of a scan's whole brain, as when a scan is mapped.

    Args:
        store: The training store.
        normals: Indices of the training normals; every scan with one counts once.
        sequences: The protocol's sequences; one that no such scan has is left out.
    """
    scans = store.scans.iloc[np.unique(store.scan_of_row[normals])]
    found = {}
    for name in (name for name in sequences if name in store.sequences):
        has = scans[f"has_{name}"].to_numpy(bool)
        values = scans.loc[has, [landmark_column(percentile, name) for percentile in LANDMARKS]].to_numpy(np.float64)
        values = values[values[:, -1] > 0]
        if len(values):
            heights = np.clip((values / values[:, -1:]).mean(axis=0), 0, 1)
            found[name] = tuple(float(height) for height in heights)
    return found
