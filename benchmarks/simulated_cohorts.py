"""Cohorts drawn from a model whose population values are known, as counts by subject: no map is ever made.

A subject has a lesion load, lesions of several sizes, some normal and some abnormal slices, and random effects on the
scores of its normal and of its lesion pixels. Scores are normal variables in bins of a fixed grid, so a cohort is a few
histograms by subject, a metric is a cumulated sum, and hundreds of cohorts are computed at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from anyadbench.metrics.core import curves
from anyadbench.metrics.core.curves import Curve

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

Values = dict[str, "Float64[np.ndarray, '*batch']"]

LOW, HIGH, BINS = -5.0, 11.0, 160
SHIFT_STEP = 0.05
LESIONS = 4
"""Kinds of lesions of one subject, each with its own size and conspicuity."""

MOST_SLICES = 20
PIXELS = 12_000
"""Brain pixels of a slice."""


@dataclass(frozen=True)
class Setting:
    """A generative setting.

    Attributes:
        contrast: Mean shift of lesion pixels, in SDs of normal pixels.
        lesion_sd: SD over subjects of that shift.
        normal_sd: SD over subjects of the shift of normal pixels.
        size_sd: SD over the lesions of one subject of the shift.
        bright: Median share of normal pixels that look like lesions.
        bright_sd: SD over subjects of the logarithm of that share.
        load_sd: SD of the logarithm of a subject's lesion load; 0 for a Pareto law with exponent 1.8.
        abnormal: Mean number of abnormal slices.
        healthy: Share of subjects without a lesion.
        slice_gain: What the slice score takes from the shift of the lesion.
    """

    name: str
    contrast: float
    lesion_sd: float
    normal_sd: float
    size_sd: float
    bright: float
    bright_sd: float
    load_sd: float
    abnormal: float
    healthy: float
    slice_gain: float


SETTINGS = (
    Setting("strong method", 3.0, 0.8, 0.3, 0.6, 0.003, 0.7, 0.7, 10.0, 0.0, 0.6),
    Setting("weak method", 1.0, 0.8, 0.4, 0.5, 0.02, 0.6, 1.0, 8.0, 0.0, 0.4),
    Setting("heavy-tailed loads", 2.2, 1.1, 0.4, 0.8, 0.006, 1.0, 0.0, 5.0, 0.1, 0.6),
)
"""Settings that the methods were tried on first."""

FURTHER = (
    Setting("small lesions, noisy normals", 1.8, 0.6, 0.7, 0.7, 0.01, 0.9, 1.2, 4.0, 0.2, 0.5),
    Setting("near-perfect method", 4.5, 0.9, 0.3, 0.7, 0.001, 0.8, 0.8, 12.0, 0.05, 0.8),
)
"""Settings that were added later; their figures, too, were known when the factors were fixed."""


def _table() -> Float64[np.ndarray, "shifts g"]:
    edges = np.linspace(LOW, HIGH, BINS + 1)
    shifts = np.arange(LOW, HIGH, SHIFT_STEP)
    below = ndtr(edges[None, :] - shifts[:, None])
    below[:, 0], below[:, -1] = 0.0, 1.0
    return np.asarray(np.diff(below, axis=1)[:, ::-1])


TABLE = _table()
"""Histogram of unit normals at each shift, the highest bin first."""


def _at(shift: Float64[np.ndarray, "*b"]) -> Int64[np.ndarray, "*b"]:
    return np.clip(np.rint((shift - LOW) / SHIFT_STEP), 0, len(TABLE) - 1).astype(np.int64)


@dataclass(frozen=True)
class Counts:
    """Counts by subject in bins of falling score.

    Attributes:
        normal: Normal pixels.
        lesion: Lesion pixels.
        weight: Covered fractions of components.
        normal_slices: Normal slices, in bins of the slice score.
        abnormal_slices: Slices with a lesion.
    """

    normal: Float64[np.ndarray, "*batch n g"]
    lesion: Float64[np.ndarray, "*batch n g"]
    weight: Float64[np.ndarray, "*batch n g"]
    normal_slices: Float64[np.ndarray, "*batch n h"]
    abnormal_slices: Float64[np.ndarray, "*batch n h"]

    def changed(self, change: Callable[[np.ndarray], np.ndarray]) -> Counts:
        """Return the counts with all arrays changed alike."""
        return Counts(
            *(change(part) for part in (self.normal, self.lesion, self.weight)),
            *(change(part) for part in (self.normal_slices, self.abnormal_slices)),
        )

    def pooled(self) -> Counts:
        """Return the counts of all subjects together."""
        return self.changed(lambda part: part.sum(axis=-2))

    def held(self, kept: Float64[np.ndarray, "*batch n"]) -> Counts:
        """Return the counts with the subjects that lack the subset (0) emptied."""
        return self.changed(lambda part: part * kept[..., None])


def values_of(counts: Counts) -> Values:
    """Return the metrics of pooled counts; NaN where a class is missing."""
    pixel = _curve(counts.normal, counts.lesion, counts.weight)
    image = _curve(counts.normal_slices, counts.abnormal_slices, counts.abnormal_slices)
    found: Values = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for prefix, curve in (("image", image), ("pixel", pixel)):
            known = (curve.normals > 0.5) & (curve.lesions > 0.5)
            parts = {"auroc": curves.auroc(curve), "ap": curves.average_precision(curve), "f1": curves.f1_max(curve)}
            found |= {f"{prefix}_{name}": np.where(known, value, np.nan) for name, value in parts.items()}
        found["aupro"] = np.where(known, curves.aupro(pixel), np.nan)
        found["brain_aupro_05"] = np.where(known, curves.aupro(pixel, 0.05), np.nan)
        even, known = curves.balanced(image), (image.normals > 0.5) & (image.lesions > 0.5)
        found["image_ap_balanced"] = np.where(known, curves.average_precision(even), np.nan)
        found["image_f1_balanced"] = np.where(known, curves.f1_max(even), np.nan)
    return found


def leave_one_out(counts: Counts) -> Values:
    """Return the metrics without each subject, along the last axis."""
    return values_of(counts.changed(lambda part: part.sum(axis=-2, keepdims=True) - part))


def resampled(counts: Counts, draws: Float64[np.ndarray, "r n"]) -> Values:
    """Return the metrics of each resample, along the last axis."""
    return values_of(counts.changed(lambda part: draws @ part))


def _curve(normal: np.ndarray, lesion: np.ndarray, weight: np.ndarray) -> Curve:
    reached, found, covered = (np.cumsum(part, axis=-1) for part in (normal, lesion, weight))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = covered / covered[..., -1:]
    return Curve(reached - normal, reached, found, share, reached[..., -1], found[..., -1])


@dataclass(frozen=True)
class Subjects:
    """What all methods see alike.

    Attributes:
        area: Lesion pixels by kind of lesion.
        size: Relative conspicuity by kind of lesion, unit normal.
        effects: Two unit-normal effects that all methods share: on lesions, and on normals.
        slices: Abnormal and normal slices.
    """

    area: Float64[np.ndarray, "t n k"]
    size: Float64[np.ndarray, "t n k"]
    effects: Float64[np.ndarray, "t n 3"]
    slices: Int64[np.ndarray, "t n 2"]


def draw_subjects(rng: np.random.Generator, setting: Setting, trials: int, n: int) -> Subjects:
    """Draw the subjects of independent cohorts."""
    normal = rng.standard_normal((trials, n))
    load = np.exp(setting.load_sd * normal)
    if setting.load_sd == 0.0:
        load = np.minimum(0.5 * (1.0 - ndtr(normal)).clip(1e-4) ** (-1 / 1.8), 40.0)
    abnormal = 1 + rng.poisson(setting.abnormal - 1, (trials, n))
    # A cohort without any lesion has no metric; the first subject is never healthy.
    healthy = (rng.random((trials, n)) < setting.healthy) & (np.arange(n) > 0)
    abnormal = np.minimum(np.where(healthy, 0, abnormal), MOST_SLICES)
    slices = np.stack([abnormal, np.minimum(rng.poisson(setting.abnormal, (trials, n)), MOST_SLICES)], axis=-1)
    area = 60.0 * load[..., None] * np.exp(0.7 * rng.standard_normal((trials, n, LESIONS))) * (abnormal / 4)[..., None]
    size = rng.standard_normal((trials, n, LESIONS))
    return Subjects(area, size, rng.standard_normal((trials, n, 3)), slices)


def draw_scores(
    rng: np.random.Generator,
    setting: Setting,
    subjects: Subjects,
    shared: float = 0.0,
    own: Float64[np.ndarray, "t n 3"] | None = None,
    shift: Float64[np.ndarray, "*t"] | float = 0.0,
) -> Counts:
    """Draw one method's scores of the subjects.

    Args:
        shared: Share of the variance of subject effects that all methods have in common.
        own: The method's effects on the subjects; drawn afresh if not given.
        shift: Added to the contrast, for instance by a seed.
    """
    trials, n = subjects.slices.shape[:2]
    if own is None:
        own = rng.standard_normal((trials, n, 3))
    effect = np.sqrt(shared) * subjects.effects + np.sqrt(1 - shared) * own
    size = np.sqrt(shared) * subjects.size + np.sqrt(1 - shared) * rng.standard_normal(subjects.size.shape)
    base = setting.normal_sd * effect[..., 1]
    contrast = setting.contrast + np.asarray(shift).reshape(-1, 1)
    lesion = base[..., None] + (contrast + setting.lesion_sd * effect[..., 0])[..., None] + setting.size_sd * size
    bright = np.minimum(setting.bright * np.exp(setting.bright_sd * effect[..., 2]), 0.5)
    abnormal, normal = subjects.slices[..., 0], subjects.slices[..., 1]
    found = TABLE[_at(lesion)]
    pixels = PIXELS * (abnormal + normal)
    plain = (1 - bright)[..., None] * TABLE[_at(base)] + bright[..., None] * TABLE[_at(base + 3.0)]
    return Counts(
        normal=pixels[..., None] * plain,
        lesion=(subjects.area[..., None] * found).sum(axis=-2),
        weight=abnormal[..., None] * found.mean(axis=-2),
        normal_slices=_slices(rng, 0.5 * base[..., None] + 0.4 * effect[..., 2:], normal),
        abnormal_slices=_slices(rng, setting.slice_gain * lesion, abnormal),
    )


def _slices(
    rng: np.random.Generator, shift: Float64[np.ndarray, "t n k"], number: Int64[np.ndarray, "t n"]
) -> Float64[np.ndarray, "t n g"]:
    """Return the histogram of slice scores, the highest bin first: finer bins, so that ties are rare."""
    trials, n, kinds = shift.shape
    place = np.arange(MOST_SLICES)
    scores = shift[..., place % kinds] + rng.standard_normal((trials, n, MOST_SLICES))
    bins = 2 * BINS
    index = np.clip(((HIGH - scores) / (HIGH - LOW) * bins).astype(np.int64), 0, bins - 1)
    rows = np.arange(trials * n).reshape(trials, n, 1) * bins
    kept = place < number[..., None]
    counts = np.bincount((rows + index)[kept], minlength=trials * n * bins)
    return np.asarray(counts.reshape(trials, n, bins), dtype=np.float64)


def draw_lines(
    rng: np.random.Generator,
    setting: Setting,
    subjects: Subjects,
    offsets: Float64[np.ndarray, " k"],
    missing: float = 0.1,
    shared: float = 0.0,
) -> list[Counts]:
    """Draw one method's scores on several subsets of sequences.

    Seven tenths of the variance of the method's effects on subjects are common to its subsets, and each subset lacks
    some subjects.

    Args:
        offsets: What each subset adds to the contrast.
        missing: Chance that a subject lacks a subset; never the first two, so that every subset has some.
        shared: As for `draw_scores`.
    """
    trials, n = subjects.slices.shape[:2]
    common = rng.standard_normal((trials, n, 3))
    lines = []
    for number, offset in enumerate(offsets):
        own = np.sqrt(0.7) * common + np.sqrt(0.3) * rng.standard_normal((trials, n, 3))
        counts = draw_scores(rng, setting, subjects, shared, own, float(offset))
        lines.append(counts.held(kept_subjects(trials, n, number, missing)))
    return lines


def kept_subjects(trials: int, n: int, subset: int, missing: float) -> Float64[np.ndarray, "t n"]:
    """Return which subjects have a subset (1 or 0); the same for all methods."""
    kept = np.random.default_rng([subset, n]).random((trials, n)) >= missing
    return np.asarray(kept | (np.arange(n) < 2), dtype=np.float64)


def truth(setting: Setting, subjects: int = 20_000, seed: int = 99) -> dict[str, float]:
    """Return the population's values, from many simulated subjects pooled."""
    rng = np.random.default_rng(seed)
    total: Counts | None = None
    for _ in range(0, subjects, 1000):
        counts = draw_scores(rng, setting, draw_subjects(rng, setting, 1, 1000)).pooled()
        total = counts if total is None else _sum(total, counts)
    assert total is not None
    return {name: float(value[0]) for name, value in values_of(total).items()}


def _sum(first: Counts, second: Counts) -> Counts:
    return Counts(
        first.normal + second.normal,
        first.lesion + second.lesion,
        first.weight + second.weight,
        first.normal_slices + second.normal_slices,
        first.abnormal_slices + second.abnormal_slices,
    )


def with_contrast(setting: Setting, contrast: float) -> Setting:
    """Return the setting with another contrast."""
    return replace(setting, contrast=contrast)


METRICS = ("image_auroc", "image_ap", "image_f1", "pixel_auroc", "pixel_ap", "pixel_f1", "aupro")
ADDED = ("image_ap_balanced", "image_f1_balanced", "brain_aupro_05")
"""Further metrics of a board. The simulated pixels are those of the brain, so the other metrics of the brain have the
figures of the pixel metrics and of AUPRO, and those of scores normalised by height the figures of the image metrics.
"""

OFFSETS = np.array([0.0, -0.6, -0.3, 0.2, 0.1, -0.2, 0.3])
"""What each of seven subsets adds to the contrast."""
