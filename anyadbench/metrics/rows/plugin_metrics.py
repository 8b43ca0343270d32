"""Metrics from plugins: a board column computed from the data that every cell stores for a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pandas as pd

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


class SubjectPixels(Protocol):
    """The pixel scores of one subject in one row."""

    def compute(self) -> Mapping[str, float]:
        """Return the pixel metrics by name, NaN where one is undefined."""


@dataclass(frozen=True)
class RowScores:
    """The data that a cell stores for one subset on one test set.

    Attributes:
        slices: One line per scored slice: ``subject``, ``scan``, ``slice``, ``height_mm``, ``label`` (1 with a lesion),
            ``lesion_px``, ``brain`` (share of the field) and ``image_score``. Results that have them add ``aupimo``
            (of slices with a lesion inside the brain, else NaN) and ``image_score_height``.
        pixels: Pixel statistics by subject; ``compute()`` returns every pixel metric of that subject alone.
    """

    slices: pd.DataFrame
    pixels: Mapping[str, SubjectPixels] = field(default_factory=dict)


@dataclass(frozen=True)
class AddedMetric:
    """A metric that boards show beside the built-in ones, without training or scoring anything again.

    Attributes:
        name: Column name: lower-case letters, digits and underscores; not the name of a built-in metric.
        title: One-sentence description for the board.
        compute: Takes a ``RowScores`` and returns the value, or NaN where it is undefined. Methods are ranked by it
            too, so higher must be better.
        needs: Columns of the slice table that ``compute`` uses and that results of earlier versions lack. A board on
            which no result has them has no column of this metric.
    """

    name: str
    title: str
    compute: Callable[[RowScores], float]
    needs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"metric name {self.name!r} must consist of lower-case letters, digits and underscores")
