"""All metrics of a set of maps in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.metrics.core.arrays import as_maps, as_masks
from anyadbench.metrics.core.components import lesion_pixels
from anyadbench.metrics.core.exact import PixelStats
from anyadbench.metrics.core.image import image_metrics, top_fraction_mean
from anyadbench.metrics.names import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping


def evaluate(
    maps: Any, masks: Any, image_scores: Any | None = None, *, components: Any | None = None
) -> dict[str, float]:
    """Return every metric of `anyadbench.metrics.METRICS`, exact at the maps' float32 precision.

    Args:
        maps: N x H x W finite scores, higher is more anomalous; types other than float32 are rounded to it.
        masks: N x H x W lesion masks; a slice with any lesion pixel is abnormal.
        image_scores: N scores; by default the mean of the top 1 % of the pixels of each map.
        components: Result of `anyadbench.metrics.components` for the masks, if available.

    Returns:
        Values by name; NaN where a metric is undefined, for the reason that `undefined_reasons` gives.

    Raises:
        UserError: If shapes or values do not fit.
        ScoreError: If a score is NaN or infinite; ``.slices`` lists their indices.
    """
    scores = as_maps(maps)
    truth = as_masks(masks, scores.shape)
    lesions = lesion_pixels(truth, components)
    stats = PixelStats()
    stats.add_pixels(scores.ravel(), lesions)
    labels = np.zeros(len(scores), dtype=np.bool_)
    if scores.size:
        labels[np.unique(lesions.index // (scores.shape[1] * scores.shape[2]))] = True
    if image_scores is None:
        image_scores = top_fraction_mean(scores) if scores.size else np.empty(len(scores))
    values = image_metrics(image_scores, labels) | stats.compute()
    return {name: values[name] for name in METRICS}


def undefined_reasons(masks: Any) -> dict[str, str]:
    """Return a sentence for each metric that is NaN on these masks; empty if all are defined."""
    truth = as_masks(masks)
    abnormal = int(truth.any(axis=(1, 2)).sum())
    lesion = int(np.count_nonzero(truth))
    return reasons_from_counts(
        {
            "normal_slices": len(truth) - abnormal,
            "abnormal_slices": abnormal,
            "normal_pixels": truth.size - lesion,
            "lesion_pixels": lesion,
        }
    )


def reasons_from_counts(counts: Mapping[str, int]) -> dict[str, str]:
    """Return the reasons of `undefined_reasons` from counts.

    Args:
        counts: ``normal_slices``, ``abnormal_slices``, ``normal_pixels`` and ``lesion_pixels``.
    """
    sentences = {
        "normal_slices": "There is no normal slice, so slices cannot be ranked against each other.",
        "abnormal_slices": "There is no slice with a lesion, so there is nothing to detect.",
        "normal_pixels": "Every pixel is lesion, so there is no false positive to count.",
        "lesion_pixels": "No pixel is lesion, so there is nothing to localise.",
    }
    reasons = {}
    for name in METRICS:
        needed = ("abnormal_slices", "normal_slices")
        if not name.startswith("image_"):
            needed = ("lesion_pixels", "normal_pixels")
        for key in needed:
            if counts[key] == 0:
                reasons[name] = sentences[key]
                break
    return reasons
