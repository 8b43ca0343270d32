"""The scores of normal slices that new patients are compared with: ``scores/normals.npz`` of a cell, or a calibration.

Nothing in it names a subject.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.metrics.core.image import TOP_FRACTION
from anyadbench.results.arrays import parsed_arrays, save_arrays

if TYPE_CHECKING:
    from jaxtyping import Float, Float32, Float64, Int

FILE = "scores/normals.npz"

FORMAT = 1

MAX_BYTES = 64 * 2**20
"""Unpacked size above which a file is refused."""

TAIL = np.concatenate([np.linspace(1.0, 0.5, 26)[:-1], np.geomspace(0.5, 1e-4, 60)])
"""Shares of a slice's brain: the score that each of them exceeds is kept, most of them in the upper tail."""

LEVELS = np.linspace(0.0, 1.0, 101)
"""Quantiles of brain intensities that are kept of each scan and sequence."""

_COLUMNS = ("scan", "height", "pixels", "score", "brain_score", "peak", "tail")


@dataclass(frozen=True)
class NormalSlice:
    """One normal slice, scored.

    Attributes:
        scan: Number of its scan.
        height: Position between the scan's lowest (0) and highest (1) slice with brain; NaN where it is unknown.
        pixels: Brain pixels on the scoring grid.
        score: The method's image score.
        brain_score: Mean of the map over the highest hundredth of the brain pixels.
        peak: Highest score of a brain pixel.
        tail: The score that each share of `TAIL` of the brain pixels exceeds.
    """

    scan: int
    height: float
    pixels: int
    score: float
    brain_score: float
    peak: float
    tail: Float32[np.ndarray, " t"]


def normal_slice(scan: int, height: float, pixels: Float[np.ndarray, " n"], score: float) -> NormalSlice:
    """Return the record of a slice from the scores of its brain pixels, at least one."""
    ordered = np.sort(pixels)
    places = np.ceil((1 - TAIL) * len(ordered)).astype(int).clip(0, len(ordered) - 1)
    return NormalSlice(
        scan, height, len(ordered), score, top_mean(ordered), float(ordered[-1]), ordered[places].astype(np.float32)
    )


def top_mean(values: Float[np.ndarray, " n"]) -> float:
    """Return the mean of the highest hundredth of some scores, of the highest one at least; NaN of none."""
    if not len(values):
        return float("nan")
    count = max(1, int(TOP_FRACTION * len(values)))
    return float(np.sort(np.partition(values, len(values) - count)[len(values) - count :]).mean(dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Normals:
    """The normal slices of one subset of sequences.

    Attributes:
        threshold: 99th percentile of the scores of their brain pixels.
        slices: Columns of the slices, as in `NormalSlice`.
        scan_scores: Each scan's patient score: mean of the map over the highest hundredth of all its brain pixels.
        subjects: Number of each scan's subject.
    """

    threshold: float
    slices: Mapping[str, np.ndarray]
    scan_scores: Float64[np.ndarray, " s"]
    subjects: Int[np.ndarray, " s"]

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return len(self.slices["scan"])

    @cached_property
    def n_subjects(self) -> int:
        """Number of subjects."""
        return len(set(self.subjects.tolist()))

    def shares(self, threshold: float) -> Float64[np.ndarray, " n"]:
        """Return the share of each slice's brain that is above a threshold, to about a thirtieth of itself."""
        tails = self.slices["tail"]
        # Tails rise, as the shares fall; between two kept scores the share falls exponentially.
        found = [float(np.exp(np.interp(threshold, tail, np.log(TAIL)))) for tail in tails]
        above = np.where(self.slices["peak"] > threshold, found, 0.0)
        return np.where(tails[:, 0] > threshold, 1.0, above)

    def scan_shares(self, threshold: float) -> Float64[np.ndarray, " s"]:
        """Return the share of each scan's brain, in its normal slices, that is above a threshold."""
        scans, pixels = self.slices["scan"], self.slices["pixels"].astype(np.float64)
        above, whole = (
            np.bincount(scans, weights=weights, minlength=len(self.subjects))
            for weights in (self.shares(threshold) * pixels, pixels)
        )
        return np.asarray(above / np.maximum(whole, 1))


@dataclass(frozen=True, eq=False)
class NormalScores:
    """The normal slices of every subset, and the brain intensities of their scans.

    Attributes:
        subsets: By label.
        intensities: Quantiles (`LEVELS`) of the brain's intensities by sequence, a row for each scan that has it.
        kind: ``validation subjects``, ``slice block`` if the slices are of training subjects, or ``site``.
    """

    subsets: Mapping[str, Normals]
    intensities: Mapping[str, Float32[np.ndarray, "s l"]] = field(default_factory=dict)
    kind: str = "validation subjects"

    @property
    def described(self) -> str:
        """What the slices are, in the plural."""
        return "validation slices of training subjects" if self.kind == "slice block" else "validation normals"


def normals_of(
    slices: Sequence[NormalSlice], threshold: float, scan_scores: Sequence[float], subjects: Sequence[int]
) -> Normals:
    """Return the slices of one subset as columns."""
    columns = {name: np.array([getattr(item, name) for item in slices]) for name in _COLUMNS}
    return Normals(threshold, columns, np.array(scan_scores, np.float64), np.array(subjects, np.int64))


def quantiles(values: Float[np.ndarray, " n"]) -> Float32[np.ndarray, " l"]:
    """Return the quantiles of some intensities, at least one."""
    return np.quantile(values, LEVELS).astype(np.float32)


def height_of(position: float, first: float, last: float) -> float:
    """Return a relative height in the head: 0 at the lowest slice with brain, 1 at the highest; NaN if they are one."""
    return (position - first) / (last - first) if last > first else float("nan")


def save_normals(path: Path, found: NormalScores, option: str = "--runs") -> None:
    """Write the file; equal scores give equal bytes.

    Raises:
        UserError: If it cannot be written.
    """
    arrays: dict[str, np.ndarray] = {}
    rows = []
    for number, (label, one) in enumerate(found.subsets.items()):
        rows.append([label, one.threshold])
        arrays |= {f"{name}_{number}": _small(one.slices[name]) for name in _COLUMNS}
        arrays |= {f"scan_score_{number}": one.scan_scores, f"subject_{number}": one.subjects.astype(np.int32)}
    arrays |= {f"intensity_{name}": values for name, values in found.intensities.items()}
    head = {"format": FORMAT, "kind": found.kind, "rows": rows, "sequences": list(found.intensities)}
    save_arrays(path, {"index": np.array(json.dumps(head)), **arrays}, option=option)


def load_normals(path: Path, source: str) -> NormalScores:
    """Read what `save_normals` wrote.

    Args:
        path: The file.
        source: Its name in messages.

    Raises:
        UserError: If it is damaged.
    """
    return parsed_arrays(path, source, MAX_BYTES, _checked, "copy it again, or make it again")


def _checked(arrays: Mapping[str, Any]) -> NormalScores:
    head = json.loads(str(arrays["index"].item()))
    if head["format"] != FORMAT:
        raise ValueError("format")
    subsets = {}
    for number, (label, threshold) in enumerate(head["rows"]):
        columns = {name: arrays[f"{name}_{number}"] for name in _COLUMNS}
        scores, subjects = arrays[f"scan_score_{number}"], arrays[f"subject_{number}"]
        count = len(columns["scan"])
        wrong = (
            not count
            or any(len(column) != count for column in columns.values())
            or columns["tail"].shape != (count, len(TAIL))
            or (np.diff(columns["tail"], axis=1) < 0).any()
            or any(not np.isfinite(columns[name]).all() for name in _COLUMNS if name != "height")
            or not 0 <= columns["scan"].min() <= columns["scan"].max() < len(scores)
            or scores.shape != subjects.shape
            or not np.isfinite([*scores, float(threshold)]).all()
        )
        if wrong:
            raise ValueError(label)
        wide = {name: columns[name].astype(np.int64) for name in ("scan", "pixels")}
        subsets[str(label)] = Normals(float(threshold), columns | wide, scores.astype(np.float64), subjects)
    intensities = {str(name): arrays[f"intensity_{name}"] for name in head["sequences"]}
    if any(values.ndim != 2 or values.shape[1] != len(LEVELS) for values in intensities.values()):
        raise ValueError("intensities")
    return NormalScores(subsets, intensities, str(head["kind"]))


def _small(column: np.ndarray) -> np.ndarray:
    return column.astype(np.int32) if column.dtype.kind == "i" else column
