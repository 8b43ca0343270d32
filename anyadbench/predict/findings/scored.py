"""The slices of one patient, scored: maps, the brain on their grid, and a table of scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.data.slices.geometry import grid_after
from anyadbench.engine.settings import SCORING_BATCH
from anyadbench.predict.findings.inside import slice_tops, tissue
from anyadbench.predict.geometry import Placement, file_axis
from anyadbench.predict.prediction import SliceScore
from anyadbench.sequences import Subset, format_subset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jaxtyping import Bool, Float32, Float64

    from anyadbench.data.trees.volume import Volume
    from anyadbench.engine.scoring import Evaluator
    from anyadbench.predict.slices import PatientSlices


@dataclass(frozen=True, eq=False)
class Scored:
    """The scores of a patient's slices.

    Attributes:
        maps: Anomaly maps on the scoring grid.
        inside: Where the shown sequences show tissue, on the same grid.
        images: The method's image scores.
    """

    maps: Float32[np.ndarray, "n h w"]
    inside: Bool[np.ndarray, "n h w"]
    images: Float64[np.ndarray, " n"]


def score_slices(
    evaluator: Evaluator, slices: PatientSlices, subsets: list[Subset], progress: Callable[[int, int], None]
) -> Scored:
    """Score each slice with its own subset of sequences, in the benchmark's batches."""
    sequences = slices.protocol.sequences
    maps: dict[int, np.ndarray] = {}
    inside: dict[int, np.ndarray] = {}
    scores: dict[int, float] = {}
    for subset in dict.fromkeys(subsets):
        chosen = np.flatnonzero([other == subset for other in subsets])
        columns = [sequences.index(name) for name in subset]
        for start in range(0, len(chosen), SCORING_BATCH):
            rows = chosen[start : start + SCORING_BATCH]
            names = [f"slice {slices.part.slices[row]['slice']}" for row in rows]
            values = slices.values(rows)
            some, images = evaluator.score(values, subset, names)
            height, width = some.shape[1:]
            maps.update(zip(rows.tolist(), some, strict=True))
            inside.update(zip(rows.tolist(), tissue(values, columns, (height, width)), strict=True))
            scores.update(zip(rows.tolist(), images, strict=True))
            progress(len(maps), len(slices))
    order = range(len(slices))
    stacked = [np.stack([found[row] for row in order]) for found in (maps, inside)]
    return Scored(stacked[0], stacked[1], np.array([scores[row] for row in order]))


def slice_table(
    scored: Scored,
    slices: PatientSlices,
    subsets: list[Subset],
    limits: Mapping[Subset, float | None],
    placement: Placement,
    reference: Volume,
) -> tuple[SliceScore, ...]:
    """Return the scores of each slice, with its area above the threshold of the subset that it was shown.

    Args:
        scored: The scores.
        slices: The slices.
        subsets: Sequences that each was scored with.
        limits: Pixel threshold of each subset.
        placement: Where the slices lie.
        reference: First input.
    """
    shape, rules = slices.shape, slices.protocol.geometry
    seen, resized = grid_after(shape, rules), rules.resize if any(rules.resize) else shape
    steps = np.linalg.norm(placement.grid.affine[:3, :2], axis=0)
    field = float(steps.prod()) * shape[0] * shape[1] * (seen[0] / resized[0]) * (seen[1] / resized[1])
    area = field / scored.maps[0].size
    _, downwards = file_axis(reference)
    last = reference.shape[2] - 1
    tops, _ = slice_tops(scored.maps, scored.inside)
    found = []
    for i, (item, subset) in enumerate(zip(slices.part.slices, subsets, strict=True)):
        k, counts, threshold = int(item["slice"]), slices.counts(item), limits[subset]
        pixels = scored.maps[i][scored.inside[i]]
        above = float((pixels > threshold).sum()) * area if counts and threshold is not None else None
        found.append(
            SliceScore(
                slice=k,
                file_index=None if placement.tilted else (last - k if downwards else k),
                height_mm=float(item["height_mm"]),
                brain=slices.brain(item),
                subset=format_subset(subset),
                score=float(scored.images[i]),
                brain_score=None if np.isnan(tops[i]) else float(tops[i]),
                counted=counts,
                above_threshold_mm2=above,
            )
        )
    return tuple(found)
