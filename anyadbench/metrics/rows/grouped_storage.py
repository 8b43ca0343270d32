"""Storing grouped rows: one array per quantity for all rows of a cell, each in as few bytes as its numbers need."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.metrics.core.cohort import Cohort
from anyadbench.metrics.core.curves import FIELD, INSIDE, Region
from anyadbench.metrics.rows.brain_pixels import Ranked
from anyadbench.metrics.rows.grouped import GroupedSteps

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64, UInt8

GROUPED_FORMAT = 3

WEIGHT_BITS = 20
"""Bits by which the subjects' weights of components are rounded: to 2^-10 of a component."""

_MOST_NUMBERS = 1 << 24
"""Numbers of one kind in a file; no cell comes close."""

_STEPS = ("gaps", "tied", "lesions", "weights", "ahead", "ties", "ranks", "positions")
_COHORT = ("gaps", "tied", "lesions", "weights")
_ARRAYS = (*_STEPS, *(f"subject_{name}" for name in _COHORT))
_BRAIN = "brain_"


def grouped_arrays(
    rows: Sequence[tuple[Mapping[str, Any], Ranked, Ranked | None]], tests: Mapping[str, Sequence[str]]
) -> dict[str, np.ndarray]:
    """Return the arrays in which grouped rows are stored.

    Args:
        rows: Of each row: what the index says of it besides sizes and values, and the groups of the field and of the
            brain, if it has them.
        tests: All subjects of each test set.
    """
    field = [_part(ranked) for _, ranked, _ in rows]
    brain = [None if ranked is None else _part(ranked) for *_, ranked in rows]
    index = [
        {**entry, **one.facts, "brain": None if other is None else other.facts}
        for (entry, *_), one, other in zip(rows, field, brain, strict=True)
    ]
    head = {"format": GROUPED_FORMAT, "tests": {name: list(listed) for name, listed in tests.items()}, "rows": index}
    arrays = {"index": np.array(json.dumps(head, sort_keys=True, separators=(",", ":")))}
    inside = [one for one in brain if one is not None]
    return arrays | _joined(field, FIELD, "") | (_joined(inside, INSIDE, _BRAIN) if inside else {})


@dataclass(frozen=True)
class _Part:
    """One ranking as stored: its entry in the index, its numbers by array, and the values without each subject."""

    facts: dict[str, Any]
    numbers: dict[str, Int64[np.ndarray, " n"]]
    left_out: Float64[np.ndarray, "s m"]


def _part(ranked: Ranked) -> _Part:
    steps, cohort = ranked.steps, ranked.cohort
    if not isinstance(steps, GroupedSteps) or cohort.left_out is None:
        raise ValueError("a row has no groups, or no values without each subject")
    facts = {
        "groups": len(steps.lesions), "subject_groups": cohort.tied.shape[1], "components": steps.components,
        "values": _plain(steps.values), "bins": None if steps.bins is None else _plain(steps.bins),
    }  # fmt: skip
    numbers = {name: getattr(steps, name) for name in _STEPS}
    numbers["ranks"] = numbers["ranks"] - _least_ranks(steps)
    for name in _COHORT:
        values = getattr(cohort, name)
        numbers[f"subject_{name}"] = (values >> WEIGHT_BITS if name == "weights" else values).ravel()
    return _Part(facts, numbers, cohort.left_out)


def _joined(parts: Sequence[_Part], region: Region, prefix: str) -> dict[str, np.ndarray]:
    nothing = np.empty(0, dtype=np.int64)
    arrays = {
        f"{prefix}{name}": _planes(np.concatenate([*(part.numbers[name] for part in parts), nothing]))
        for name in _ARRAYS
    }
    values = [np.empty((0, len(region.names))), *(part.left_out for part in parts)]
    return arrays | {f"{prefix}left_out": np.concatenate(values)}


def read_grouped(
    arrays: Mapping[str, np.ndarray], head: Mapping[str, Any]
) -> Iterator[tuple[Mapping[str, Any], Ranked, Ranked | None]]:
    """Yield each row's entry in the index, and its groups of the field and of the brain, none of them checked.

    Raises:
        KeyError: If an array is missing.
        ValueError: If one has the wrong shape or type.
    """
    field = _Source(arrays, FIELD, "")
    brain = _Source(arrays, INSIDE, _BRAIN) if any(entry.get("brain") for entry in head["rows"]) else None
    for entry in head["rows"]:
        subjects = len(entry["subjects"])
        inner = brain.take(entry["brain"], subjects) if brain is not None and entry.get("brain") else None
        yield entry, field.take(entry, subjects), inner
    if any(source.left for source in (field, brain) if source is not None):
        raise ValueError("rows")


class _Source:
    """The arrays of one region, read row by row."""

    def __init__(self, arrays: Mapping[str, np.ndarray], region: Region, prefix: str) -> None:
        self._region = region
        self._streams = {name: _Stream(arrays[f"{prefix}{name}"]) for name in _ARRAYS}
        self._left_out, self._taken = arrays[f"{prefix}left_out"], 0
        if self._left_out.dtype != np.float64 or self._left_out.ndim != 2:
            raise ValueError("left_out")

    @property
    def left(self) -> bool:
        return self._taken != len(self._left_out) or any(stream.left for stream in self._streams.values())

    def take(self, facts: Mapping[str, Any], subjects: int) -> Ranked:
        k, g = int(facts["groups"]), int(facts["subject_groups"])
        taken = {name: self._streams[name].take(k + (name == "gaps")) for name in _STEPS}
        sizes = {name: (subjects, g + (name == "gaps")) for name in _COHORT}
        shaped = {
            name: self._streams[f"subject_{name}"].take(subjects * width).reshape(subjects, width)
            for name, (_, width) in sizes.items()
        }
        names, bins = self._region.names, facts["bins"]
        steps = GroupedSteps(
            **taken, areas=np.empty(0, dtype=np.int64), components=int(facts["components"]), region=self._region,
            values=_numbers(facts["values"], names), bins=None if bins is None else _numbers(bins, names),
        )  # fmt: skip
        steps.ranks[:] += _least_ranks(steps)
        shaped["weights"] <<= WEIGHT_BITS
        self._taken += subjects
        values = self._left_out[self._taken - subjects : self._taken]
        return Ranked(steps, np.empty(0, dtype=np.int64), Cohort(**shaped, left_out=values))


class _Stream:
    """The numbers of an array in byte planes, taken from the front."""

    def __init__(self, planes: np.ndarray) -> None:
        if planes.dtype != np.uint8 or planes.ndim != 2 or planes.shape[0] > 7 or planes.shape[1] > _MOST_NUMBERS:
            raise ValueError("planes")
        wide = np.zeros((planes.shape[1], 8), dtype=np.uint8)
        wide[:, : planes.shape[0]] = planes.T
        self._values = wide.view("<u8").ravel().astype(np.int64)
        self._place = 0

    @property
    def left(self) -> int:
        return len(self._values) - self._place

    def take(self, count: int) -> Int64[np.ndarray, " n"]:
        if not 0 <= count <= self.left:
            raise ValueError("count")
        self._place += count
        return self._values[self._place - count : self._place].copy()


def _planes(values: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "b n"]:
    """Return non-negative integers as planes of bytes, the lowest first; equal high bytes compress to nothing."""
    count = max(1, (int(values.max()).bit_length() + 7) // 8) if len(values) else 1
    return np.ascontiguousarray(values.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :count].T)


def _least_ranks(steps: GroupedSteps) -> Int64[np.ndarray, " k"]:
    """Return the sum of ranks without equal scores, from which few groups differ."""
    return np.asarray(steps.lesions * (steps.lesions + 1) // 2)


def _plain(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else float(value) for name, value in values.items()}


def _numbers(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    return {name: math.nan if values[name] is None else float(values[name]) for name in names}
