"""The slices of a DICOM series as one evenly spaced stack: their order, and their grid in mm.

SimpleITK would treat any list of files as an even stack, with a pixel size of 1 mm where none can be read: it would
stretch a series with a gap over the gap, and interleave two acquisitions. Source: DICOM PS3.3, section C.7.6.2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.data.trees.problems import BadFile

if TYPE_CHECKING:
    from jaxtyping import Float

STEP_SHARE, STEP_MM = 0.01, 0.05
"""Largest difference between slice steps: this share of the step or this many mm, whichever is larger."""

_SAME_SIZE, _SQUARE = 1e-3, 1e-2
"""Largest relative difference of pixel sizes, and of direction cosines from orthonormal ones."""

_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_GEOMETRY = "export the series again with its geometry"


@dataclass(frozen=True)
class Place:
    """Where a slice lies, as stored.

    Attributes:
        position: Middle of its first pixel in mm (LPS).
        orientation: Direction cosines of its rows and columns.
        spacing: Distance of its rows and of its columns in mm.
        thickness: Its thickness in mm.
    """

    position: str
    orientation: str
    spacing: str = ""
    thickness: str = ""


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in order.

    Attributes:
        order: For each slice from the first to the last along the normal the number of its place.
        axes: Unit vectors along the rows and along the columns (LPS).
        origin: Position of the first slice in mm (LPS).
        step: From one slice to the next in mm (LPS); it leans against the normal if the gantry is tilted.
    """

    order: list[int]
    axes: Float[np.ndarray, "2 3"]
    origin: Float[np.ndarray, xyz]
    step: Float[np.ndarray, xyz]

    def affine(self, size: tuple[float, float]) -> Float[np.ndarray, "4 4"]:
        """Return the affine of indices ``column row slice`` to mm (LPS), for the distance of rows and of columns."""
        down, across = size
        found = np.eye(4)
        found[:3, 0], found[:3, 1], found[:3, 2] = self.axes[0] * across, self.axes[1] * down, self.step
        found[:3, 3] = self.origin
        return found


def decimals(text: str, count: int) -> list[float]:
    """Return the numbers of a decimal string.

    Raises:
        ValueError: If they are not so many, or one is not a number as DICOM writes it (PS3.5, 6.2, DS).
    """
    parts = [part.strip(" \0") for part in text.split("\\")]
    if len(parts) != count or not all(_DECIMAL.fullmatch(part) for part in parts):
        raise ValueError(text)
    values = [float(part) for part in parts]
    if not np.isfinite(values).all():
        raise ValueError(text)
    return values


def shown(text: str, most: int = 40) -> str:
    """Return a value of a file as it may be shown: short, on one line, without control characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:most])


def pixel_size(folder: Path, places: Sequence[Place]) -> tuple[float, float]:
    """Return the distance of the rows and of the columns of all slices in mm.

    Raises:
        BadFile: If it is missing, not a positive number, or differs.
    """
    found = []
    for text in dict.fromkeys(place.spacing for place in places):
        if not text:
            raise BadFile(folder, "has slices without a pixel size (PixelSpacing)", _GEOMETRY)
        try:
            found.append(decimals(text, 2))
        except ValueError:
            cause = f"has a pixel size that is not two numbers (PixelSpacing is {shown(text)!r})"
            raise BadFile(folder, cause, _GEOMETRY) from None
    sizes = np.array(found)
    if (sizes <= 0).any():
        cause = f"has a pixel size that is not above 0 (PixelSpacing is {sizes.min():g} mm)"
        raise BadFile(folder, cause, _GEOMETRY)
    if (np.abs(sizes - sizes[0]) > _SAME_SIZE * sizes[0]).any():
        low, high = sizes.min(axis=0), sizes.max(axis=0)
        cause = f"has slices of different pixel sizes ({low[0]:g} x {low[1]:g} to {high[0]:g} x {high[1]:g} mm)"
        raise BadFile(folder, cause, "give the folder of one complete volume")
    return float(sizes[0, 0]), float(sizes[0, 1])


def stack_of(folder: Path, places: Sequence[Place]) -> Stack:
    """Return the slices of a series in order along their normal.

    Raises:
        BadFile: If slices have no position or direction, differ in direction, share a position, or have uneven steps;
            for one slice also if it has no thickness.
    """
    try:
        points = np.array([decimals(place.position, 3) for place in places])
        axes = np.array([decimals(place.orientation, 6) for place in places])
    except ValueError:
        cause = "has slices without a position (ImagePositionPatient, ImageOrientationPatient)"
        raise BadFile(folder, cause, _GEOMETRY) from None
    if np.abs(axes - axes[0]).max() > 1e-3:
        raise BadFile(folder, "holds slices of several directions", "give the folder of one stack of parallel slices")
    unit, normal = _directions(folder, axes[0])
    order = np.argsort(points @ normal, kind="stable")
    listed = [int(index) for index in order]
    if len(places) == 1:
        return Stack(listed, unit, points[0], normal * _thickness(folder, places[0]))
    return Stack(listed, unit, points[order[0]], _step(folder, points[order], normal))


def _directions(folder: Path, cosines: Float[np.ndarray, cosines]) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit vectors of rows and columns, and the normal."""
    axes = cosines.reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1)
    if lengths.min() < 0.5 or np.linalg.norm(np.cross(axes[0], axes[1])) < 0.5:
        raise BadFile(folder, "has slices without a direction (ImageOrientationPatient)", _GEOMETRY)
    if np.abs(lengths - 1).max() > _SQUARE or abs(float(axes[0] @ axes[1])) > _SQUARE:
        cause = "has slices whose rows and columns are not at right angles or of length 1 (ImageOrientationPatient)"
        raise BadFile(folder, cause, _GEOMETRY)
    unit = axes / lengths[:, None]
    normal = np.cross(unit[0], unit[1])
    return unit, normal / np.linalg.norm(normal)


def _thickness(folder: Path, place: Place) -> float:
    try:
        (found,) = decimals(place.thickness, 1)
    except ValueError:
        found = 0.0
    if found <= 0:
        raise BadFile(folder, "has one slice, and no thickness of it (SliceThickness)", "give the folder of a volume")
    return found


def _step(folder: Path, points: Float[np.ndarray, "slices 3"], normal: Float[np.ndarray, xyz]) -> np.ndarray:
    """Return the step between ordered slices."""
    moves = np.diff(points, axis=0)
    steps = moves @ normal
    same = int((steps < STEP_MM).sum())
    if same:
        cause = f"contains {same} slices at the position of another slice (copies, or several acquisitions)"
        raise BadFile(folder, cause, "give the folder of one complete volume")
    step = float(np.median(steps))
    slack = max(STEP_SHARE * step, STEP_MM)
    worst = int(np.argmax(np.abs(steps - step)))
    if abs(steps[worst] - step) > slack:
        cause = f"has two neighbouring slices {steps[worst]:.4g} mm apart, while others are {step:.4g} mm apart"
        raise BadFile(folder, cause, "copy the series again if slices are missing, or give an evenly spaced one")
    mean: np.ndarray = moves.mean(axis=0)
    if np.linalg.norm(moves - mean, axis=1).max() > slack:
        cause = "has slices that are shifted sideways relative to each other"
        raise BadFile(folder, cause, "resample it to a straight stack, or give another series")
    straight = (mean @ normal) * normal
    return mean if np.linalg.norm(mean - straight) > slack else straight
