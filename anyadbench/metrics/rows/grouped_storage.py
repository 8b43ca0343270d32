"""Storing grouped rows: one array per quantity for all rows of a cell, each in as few bytes as its numbers need."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.metrics.core.cohort import LEFT_OUT, Cohort
from anyadbench.metrics.rows.grouped import PIXEL_METRICS, GroupedSteps

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64, UInt8

GROUPED_FORMAT = 3

WEIGHT_BITS = 20
"""Bits by which the subjects' weights of components are rounded: to 2^-10 of a component."""

_MOST_NUMBERS = 1 << 24
"""Numbers of one kind in a file; no cell comes close."""

_STEPS = ("gaps", "tied", "lesions", "weights", "ahead", "ties", "ranks", "positions")
_COHORT = ("gaps", "tied", "lesions", "weights")


def grouped_arrays(
    rows: Sequence[tuple[Mapping[str, Any], GroupedSteps, Cohort]], tests: Mapping[str, Sequence[str]]
) -> dict[str, np.ndarray]:
    """Return the arrays in which grouped rows are stored.

    Args:
        rows: Of each row: what the index says of it besides sizes and values, its steps and its subjects' counts.
        tests: All subjects of each test set.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in (*_STEPS, *(f"subject_{name}" for name in _COHORT))}
    index: list[dict[str, Any]] = []
    for entry, steps, cohort in rows:
        sizes = {"groups": len(steps.lesions), "subject_groups": cohort.tied.shape[1], "components": steps.components}
        values = {"values": _plain(steps.values), "bins": None if steps.bins is None else _plain(steps.bins)}
        index.append({**entry, **sizes, **values})
        for name in _STEPS:
            numbers = getattr(steps, name)
            parts[name].append(numbers - _least_ranks(steps) if name == "ranks" else numbers)
        for name in _COHORT:
            numbers = getattr(cohort, name)
            parts[f"subject_{name}"].append((numbers >> WEIGHT_BITS if name == "weights" else numbers).ravel())
    head = {"format": GROUPED_FORMAT, "tests": {name: list(listed) for name, listed in tests.items()}, "rows": index}
    arrays = {name: _planes(np.concatenate([*values, np.empty(0, dtype=np.int64)])) for name, values in parts.items()}
    arrays["left_out"] = np.concatenate([_left_out(cohort) for _, _, cohort in rows] or [np.empty((0, len(LEFT_OUT)))])
    return {"index": np.array(json.dumps(head, sort_keys=True, separators=(",", ":"))), **arrays}


def read_grouped(
    arrays: Mapping[str, np.ndarray], head: Mapping[str, Any]
) -> Iterator[tuple[Mapping[str, Any], GroupedSteps, Cohort]]:
    """Yield each row's entry in the index, its steps and its subjects' counts, none of them checked.

    Raises:
        KeyError: If an array is missing.
        ValueError: If one has the wrong shape or type.
    """
    streams = {name: _Stream(arrays[name]) for name in (*_STEPS, *(f"subject_{name}" for name in _COHORT))}
    left_out, taken_out = arrays["left_out"], 0
    if left_out.dtype != np.float64 or left_out.ndim != 2:
        raise ValueError("left_out")
    for entry in head["rows"]:
        k, g, s = int(entry["groups"]), int(entry["subject_groups"]), len(entry["subjects"])
        taken = {name: streams[name].take(k + (name == "gaps")) for name in _STEPS}
        counts = {name: streams[f"subject_{name}"].take(s * (g + (name == "gaps"))) for name in _COHORT}
        shaped = {name: values.reshape(s, g + (name == "gaps")) for name, values in counts.items()}
        steps = GroupedSteps(
            **taken, areas=np.empty(0, dtype=np.int64), components=int(entry["components"]),
            values=_numbers(entry["values"]), bins=None if entry["bins"] is None else _numbers(entry["bins"]),
        )  # fmt: skip
        steps.ranks[:] += _least_ranks(steps)
        shaped["weights"] <<= WEIGHT_BITS
        yield entry, steps, Cohort(**shaped, left_out=left_out[taken_out : taken_out + s])
        taken_out += s
    if taken_out != len(left_out) or any(stream.left for stream in streams.values()):
        raise ValueError("rows")


def _left_out(cohort: Cohort) -> Float64[np.ndarray, "s m"]:
    if cohort.left_out is None:
        raise ValueError("a row has no values without each subject")
    return cohort.left_out


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


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: math.nan if values[name] is None else float(values[name]) for name in PIXEL_METRICS}
