"""Every metric with one subject left out, exactly, from counts that add up over subjects.

The counts without a subject are the pooled counts less the subject's, so no map is needed again and nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.core.curves import FIELD, INSIDE, Region
from anyadbench.metrics.intervals.resample import ImageData, resample, resample_pixels
from anyadbench.metrics.names import BALANCED, BRAIN, HEIGHT, METRICS

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

    from anyadbench.metrics.core.cohort import Cohort

JACKKNIFED = (*METRICS, *BALANCED, *BRAIN, *HEIGHT)
"""Metrics whose values without a subject are kept; NaN where a row lacks one."""


@dataclass(frozen=True)
class Replicates:
    """One line of a board: a method on one subset of a test set, or a mean of such lines.

    Attributes:
        subjects: Names of the subjects that the line has.
        metrics: Names of the metrics.
        point: Value of each metric for each run seed; NaN where undefined.
        jack: Value without each subject; NaN where leaving it out leaves no lesion or no normal.
    """

    subjects: tuple[str, ...]
    metrics: tuple[str, ...]
    point: Float64[np.ndarray, "seeds m"]
    jack: Float64[np.ndarray, "seeds n m"]

    def __post_init__(self) -> None:
        """Check that the shapes fit each other."""
        seeds, count = self.point.shape[0], len(self.metrics)
        if self.point.shape != (seeds, count) or self.jack.shape != (seeds, len(self.subjects), count):
            raise ValueError(
                f"shapes {self.point.shape} and {self.jack.shape} do not fit {len(self.subjects)} subjects"
            )

    @property
    def seeds(self) -> int:
        """Number of run seeds."""
        return len(self.point)

    def metric(self, name: str) -> tuple[Float64[np.ndarray, " seeds"], Float64[np.ndarray, "seeds n"]]:
        """Return the values of one metric, and those without each subject."""
        place = self.metrics.index(name)
        return self.point[:, place], self.jack[:, :, place]

    def only(self, names: Sequence[str]) -> Replicates:
        """Return the line with some of its metrics."""
        places = [self.metrics.index(name) for name in names]
        return Replicates(self.subjects, tuple(names), self.point[:, places], self.jack[:, :, places])

    def rounded(self) -> Replicates:
        """Return the line with its values without a subject rounded to float32."""
        return replace(self, jack=self.jack.astype(np.float32).astype(np.float64))

    def on(self, subjects: Sequence[str]) -> Replicates:
        """Return the line over more subjects: leaving out one that it does not have changes nothing.

        Args:
            subjects: All of the line's own, and others.
        """
        missing = sorted(set(self.subjects) - set(subjects))
        if missing:
            raise ValueError(f"subject {missing[0]} is not among those given")
        place = {name: number for number, name in enumerate(self.subjects)}
        jack = np.repeat(self.point[:, None], len(subjects), axis=1)
        held = [number for number, name in enumerate(subjects) if name in place]
        jack[:, held] = self.jack[:, [place[subjects[number]] for number in held]]
        return replace(self, subjects=tuple(subjects), jack=jack)


def jackknife_values(
    cohort: Cohort,
    images: ImageData,
    points: Mapping[str, float],
    among: Sequence[int] | None = None,
    brain: Cohort | None = None,
    heights: ImageData | None = None,
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, "n m"]]:
    """Return the metrics of `JACKKNIFED`, and their values without each subject.

    Args:
        cohort: Pixel counts by subject.
        images: For the same subjects, image scores and labels of their slices.
        points: Values of the sample itself. Grouping steps makes a small difference to the sample's value, by which all
            other values are moved.
        among: Positions of the subjects that count; by default all.
        brain: Pixel counts inside the brain, if there are any.
        heights: Image scores normalised by height and labels of the slices, if there are any.

    Raises:
        UserError: If the cohort and the images have different numbers of subjects.
    """
    if len(cohort) != len(images):
        raise UserError(
            f"There are pixel counts of {len(cohort)} subjects but image scores of {len(images)}; give both."
        )
    count = len(cohort)
    kept = np.arange(count) if among is None else np.asarray(among, dtype=np.int64)
    chosen = np.zeros(count)
    chosen[kept] = 1.0
    draws = np.concatenate([np.ones((1, count)), chosen[None], chosen - np.eye(count)[kept]])
    found = resample(cohort, images, draws, brain, heights)
    lacking = np.full(len(draws), np.nan)
    values = np.stack([found.get(name, lacking) for name in JACKKNIFED], axis=1)
    point = np.array([points.get(name, np.nan) for name in JACKKNIFED], dtype=np.float64)
    moved = np.clip(values[1:] + (point - values[0]), 0.0, 1.0)
    if among is not None:
        return moved[0], moved[1:]
    for counts, region in ((cohort, FIELD), (brain, INSIDE)):
        if counts is not None and counts.left_out is not None:
            moved[1:, [JACKKNIFED.index(name) for name in region.names]] = counts.left_out
    return point, moved[1:]


def pixels_left_out(cohort: Cohort, points: Mapping[str, float], region: Region) -> Float64[np.ndarray, "n m"]:
    """Return the pixel metrics of a region without each subject, moved as in `jackknife_values`."""
    return pixels_drawn(cohort, points, region, 1.0 - np.eye(len(cohort)))


def pixels_drawn(
    cohort: Cohort, points: Mapping[str, float], region: Region, draws: Float64[np.ndarray, "r n"]
) -> Float64[np.ndarray, "r m"]:
    """Return the pixel metrics of a region for each row of weights of the subjects, moved as in `jackknife_values`."""
    found = resample_pixels(cohort, region, np.concatenate([np.ones((1, len(cohort))), draws]))
    values = np.stack([found[name] for name in region.names], axis=1)
    point = np.array([points[name] for name in region.names], dtype=np.float64)
    return np.asarray(np.clip(values[1:] + (point - values[0]), 0.0, 1.0))


def one_seed(subjects: Sequence[str], point: Float[np.ndarray, " m"], jack: Float[np.ndarray, "n m"]) -> Replicates:
    """Return the line of a single cell from what `jackknife_values` gives."""
    return Replicates(tuple(subjects), JACKKNIFED, point[None].astype(np.float64), jack[None].astype(np.float64))


def over_seeds(lines: Sequence[Replicates]) -> Replicates:
    """Put the seeds of one method on one subset together.

    Raises:
        UserError: If the seeds were scored on different subjects.
    """
    first = lines[0]
    if any(line.subjects != first.subjects or line.metrics != first.metrics for line in lines):
        raise UserError("The seeds of a method were scored on different subjects; run them on the same data.")
    points, jacks = [line.point for line in lines], [line.jack for line in lines]
    return Replicates(first.subjects, first.metrics, np.concatenate(points), np.concatenate(jacks))


def mean_of(lines: Sequence[Replicates]) -> Replicates:
    """Return the mean over subsets, of which each has its own subjects, seed by seed.

    A subject counts as one unit in all subsets, so the correlation of subsets is in the result.

    Raises:
        UserError: If the subsets have different numbers of seeds.
    """
    first = lines[0]
    if any(line.seeds != first.seeds or line.metrics != first.metrics for line in lines):
        raise UserError("The subsets have different numbers of seeds; run every seed on all of them.")
    everyone = sorted({name for line in lines for name in line.subjects})
    aligned = [line.on(everyone) for line in lines]
    point = np.mean([line.point for line in aligned], axis=0)
    return Replicates(tuple(everyone), first.metrics, point, np.mean([line.jack for line in aligned], axis=0))
