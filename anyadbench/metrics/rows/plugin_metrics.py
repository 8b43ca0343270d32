"""Metrics that plugins add: a column computed from what every cell stores of a row."""

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
    """What a cell stores of one subset on one test set.

    Attributes:
        slices: One line per scored slice: ``subject``, ``scan``, ``slice``, ``height_mm``, ``label`` (1 with a lesion),
            ``lesion_px``, ``brain`` (share of the field) and ``image_score``.
        pixels: Pixel statistics by subject; ``compute()`` gives every pixel metric of that subject alone.
    """

    slices: pd.DataFrame
    pixels: Mapping[str, SubjectPixels] = field(default_factory=dict)


@dataclass(frozen=True)
class AddedMetric:
    """A metric that the boards show beside the built-in ones. Nothing is trained or scored again for it.

    Attributes:
        name: Column name: lower-case letters, digits and underscores. It cannot be that of a built-in metric.
        title: What it is, in one sentence for the board.
        compute: Takes a ``RowScores``, returns the value, or NaN where it is undefined. Methods are ranked by it
            too, so higher has to be better.
    """

    name: str
    title: str
    compute: Callable[[RowScores], float]

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"metric name {self.name!r} must be lower-case letters, digits and underscores")
