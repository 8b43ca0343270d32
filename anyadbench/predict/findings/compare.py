"""A patient compared with normal slices: percentiles, and what normals have above the threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.predict.findings.clusters import Cluster
from anyadbench.predict.findings.percentiles import Percentiles
from anyadbench.results.normals import height_of
from anyadbench.sequences import format_subset

if TYPE_CHECKING:
    from jaxtyping import Float

    from anyadbench.predict.prediction import Prediction, SliceScore
    from anyadbench.results.normals import Normals

FEWEST = 5
"""Fewest normal subjects whose scans are a reference; with fewer, their slices are."""

NEAR = 0.1
"""Largest difference of relative height at which a normal slice is at the height of another: 15 mm of a head."""

FEWEST_TO_FIT = 10
"""Fewest normal slices whose scores are adjusted for height."""

FEWEST_SLICES = 5
"""Fewest normal slices that anything is compared with."""

FEWEST_QUANTILE = 20
"""Fewest normals with a range from the 5th to the 95th percentile; fewer have one from the lowest to the highest."""

LOW, HIGH = 0.05, 0.95
"""Ends of a reference range."""

LESS = 0.25
"""Share of a scan's slices that a lesion is expected to leave alone."""

MOST_NORMAL = 0.05
"""Share of a slice's brain above a threshold that 1 % should exceed, up to which no normal slice is out of place."""

MOST_MASK = 0.15
"""Largest share of the brain that a mask covers without a threshold of the user's own."""


@dataclass(frozen=True, eq=False)
class Basis:
    """What a patient is compared with.

    Attributes:
        subsets: The normal slices by subset.
        sources: Where those of each subset come from, for sentences.
    """

    subsets: Mapping[str, Normals]
    sources: Mapping[str, str]

    def of(self, subset: str) -> Normals | None:
        """Return the normals of a subset; ``None`` without any."""
        return self.subsets.get(subset)


def compared(prediction: Prediction, basis: Basis | None, above_ml: float, counted_ml: float) -> Prediction:
    """Return a prediction with percentiles, reference range and the notes that follow from them.

    Args:
        prediction: Without them, and with a patient score.
        basis: The normals; ``None`` if there are none.
        above_ml: Volume above the threshold before small clusters are removed.
        counted_ml: Brain volume of the slices that count.
    """
    label = format_subset(prediction.shown)
    normals = basis.of(label) if basis else None
    if basis is None or normals is None:
        return prediction if basis is None else replace(prediction, notes=(*prediction.notes, _too_few(label, 0)))
    source, heights = basis.sources[label], relative_heights(prediction)
    prediction = _judged(prediction, normals, source, above_ml / counted_ml if counted_ml else 0.0)
    if normals.n_slices < FEWEST_SLICES:
        return replace(prediction, notes=(*prediction.notes, _too_few(label, normals.n_slices)))
    clusters = tuple(
        replace(item, percentile=at_height(normals, "peak", item.peak, _height_of(item, prediction, heights)))
        for item in prediction.clusters
    )
    percentiles = _percentiles(prediction, basis, normals, heights, source)
    found = replace(prediction, clusters=clusters, percentiles=percentiles)
    if prediction.threshold is None:
        return found
    return replace(found, reference=reference_range(normals, prediction.threshold, above_ml, counted_ml, source))


def _too_few(label: str, count: int) -> str:
    return (
        f"No percentiles and no reference range: the cell has {count} normal slices for {label}; comparing takes "
        f"{FEWEST_SLICES}, which 'anyadbench calibrate' can add."
    )


def relative_heights(prediction: Prediction) -> list[float]:
    """Return each scored slice's height between the lowest (0) and the highest (1) of them."""
    numbers = [item.slice for item in prediction.slices]
    return [height_of(number, numbers[0], numbers[-1]) for number in numbers]


def percentile(values: Float[np.ndarray, " n"], value: float) -> float:
    """Return the percentage of values that are lower, 0 to 100."""
    return 100 * float((values < value).mean())


def is_near(normals: Normals, height: float) -> bool:
    """Return whether any normal slice is within ``NEAR`` of a relative height; not of an unknown one."""
    return bool((np.abs(normals.slices["height"] - height) <= NEAR).any())


def at_height(normals: Normals, column: str, value: float, height: float) -> float | None:
    """Return the percentage of normal slices with a lower score, adjusted for height in the head.

    Scores of normal slices vary with height, so each slice's difference from the curve of the normals (least squares,
    second degree, in relative height) is ranked, as in normative charts. With fewer than ``FEWEST_TO_FIT`` slices,
    scores are ranked as they are.

    Args:
        normals: The normal slices.
        column: ``score``, ``brain_score`` or ``peak``.
        value: The score.
        height: Its relative height.

    Returns:
        0 to 100; ``None`` if no normal slice is within ``NEAR`` of the height.
    """
    heights, values = normals.slices["height"], normals.slices[column].astype(np.float64)
    known = np.isfinite(heights)
    if not is_near(normals, height):
        return None
    heights, values = heights[known], values[known]
    if len(values) < FEWEST_TO_FIT or len(np.unique(heights)) < 3:
        return percentile(values, value)
    curve = np.polynomial.Polynomial.fit(heights, values, 2)
    # The patient's slice can lie a little outside the normals' heights, where the curve must not be extended.
    inner = float(np.clip(height, heights.min(), heights.max()))
    return percentile(values - curve(heights), value - float(curve(inner)))


def patient_percentile(normals: Normals, score: float) -> tuple[float, str]:
    """Return the percentage of normal scans with a lower patient score, or of slices where subjects are too few."""
    if normals.n_subjects >= FEWEST:
        return percentile(normals.scan_scores, score), "scans"
    return percentile(normals.slices["brain_score"].astype(np.float64), score), "slices"


def normal_range(values: Float[np.ndarray, " n"]) -> tuple[float, float, str]:
    """Return the ends of the range of normals, and which range it is in words."""
    many = len(values) >= FEWEST_QUANTILE
    low, high = (float(np.quantile(values, end)) for end in ((LOW, HIGH) if many else (0.0, 1.0)))
    return low, high, "5th to 95th percentile" if many else "lowest to highest"


def reference_range(
    normals: Normals, threshold: float, above_ml: float, counted_ml: float, source: str
) -> dict[str, Any]:
    """Return what normals of the patient's brain volume have above the threshold.

    From normal scans if they are of at least ``FEWEST`` subjects, else from normal slices, whose range is wider. The
    range goes from the 5th to the 95th percentile; of fewer than ``FEWEST_QUANTILE`` normals, from the lowest to the
    highest value.
    """
    whole = normals.n_subjects >= FEWEST
    shares = normals.scan_shares(threshold) if whole else normals.shares(threshold)
    low, high, kind = normal_range(shares)
    share = above_ml / counted_ml if counted_ml else 0.0
    return {
        "among": "scans" if whole else "slices",
        "n": len(shares),
        "range": kind,
        "source": source,
        "share_of_brain": share,
        "normal_share_of_brain": [low, high],
        "normal_volume_ml": [low * counted_ml, high * counted_ml],
        "above_threshold_ml": above_ml,
        "brain_ml": counted_ml,
        "percentile": percentile(shares, share),
    }


def _percentiles(
    prediction: Prediction, basis: Basis, normals: Normals, heights: list[float], source: str
) -> Percentiles:
    assert prediction.patient_score is not None  # nothing is compared without one
    patient, among = patient_percentile(normals, prediction.patient_score)
    slices = tuple(_slice(item, basis, height) for item, height in zip(prediction.slices, heights, strict=True))
    return Percentiles(patient, among, slices, len(normals.scan_scores), normals.n_slices, source)


def _slice(item: SliceScore, basis: Basis, height: float) -> float | None:
    normals = basis.of(item.subset)
    if normals is None or not item.counted or item.brain_score is None:
        return None
    return at_height(normals, "brain_score", item.brain_score, height)


def _height_of(cluster: Cluster, prediction: Prediction, heights: list[float]) -> float:
    """Return the relative height of a cluster's peak: that of its slice, or by world height where slices are tilted."""
    axis = int(np.argmax(np.abs(prediction.affine[2, :3]) / np.linalg.norm(prediction.affine[:3, :3], axis=0)))
    own = [i for i, item in enumerate(prediction.slices) if item.file_index == cluster.peak_index[axis]]
    if own:
        return heights[own[0]]
    first, last = prediction.slices[0].height_mm, prediction.slices[-1].height_mm
    return height_of(cluster.peak_mm[2], first, last)


def _judged(prediction: Prediction, normals: Normals, source: str, share: float) -> Prediction:
    """Return a prediction with a note, or without its mask, where the threshold may not hold for the scan.

    A lesion leaves some slices alone. If even the quarter of the slices with the least above the threshold has more
    than normal slices, the scanner, the preparation or the anatomy differs. Few lesions take more than ``MOST_MASK`` of
    the brain; whether this is one of them, a threshold that was carried over cannot show.

    Args:
        prediction: With mask and clusters.
        normals: Those that the threshold comes from.
        source: Where they come from.
        share: Share of the brain above the threshold.
    """
    threshold = prediction.threshold
    if threshold is None or prediction.threshold_given:
        return prediction
    rows = [i for i, item in enumerate(prediction.slices) if item.counted and prediction.grid_brain[i].any()]
    shares = [float((prediction.grid_maps[i][prediction.grid_brain[i]] > threshold).mean()) for i in rows]
    if not rows:
        return prediction
    limit = MOST_NORMAL
    if normals.n_slices >= FEWEST_SLICES:
        limit = max(limit, float(np.quantile(normals.shares(threshold), HIGH)))
    least = float(np.quantile(shares, LESS))
    covered = 0.0 if prediction.mask is None else float(prediction.mask.sum() / prediction.brain.sum())
    cause, advice = "", "set thresholds for your scans with 'anyadbench calibrate', or give one with --threshold"
    if least > limit:
        cause = (
            f"{share:.0%} of the brain lies above the threshold, and {least:.0%} or more in three of four slices, "
            f"where {source} have up to {limit:.0%}: the whole scan differs from them (scanner, preparation, age), not "
            "a part of it"
        )
    elif covered > MOST_MASK:
        cause = (
            f"it would cover {covered:.0%} of the brain, more than most lesions do, so the threshold of "
            f"{threshold:.4g} may not hold for this scan"
        )
        advice = "look at the map, and give this threshold or a higher one with --threshold"
    if not cause:
        return prediction
    if share <= MOST_MASK:
        return replace(prediction, notes=(*prediction.notes, f"Mask and volume are unreliable: {cause}."))
    return replace(
        prediction,
        mask=None,
        clusters=(),
        cluster_labels=np.zeros_like(prediction.cluster_labels),
        notes=(*prediction.notes, f"No mask: {cause}; {advice}."),
    )
