"""What lies outside the brain: the value of the background, and whether there is a background at all.

Everything that uses brain area takes a voxel for brain if it is not 0. A scan with another background is brought to 0
where its meaning is plain; training and prediction do the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.data.trees.problems import BadFile

if TYPE_CHECKING:
    from jaxtyping import Bool, Shaped

    from anyadbench.data.trees.volume import Volume

MIN_BACKGROUND = 0.15
"""Smallest share of background in a stripped scan: even an ellipse that touches its box leaves a fifth of it."""

MAX_AREA_CM2 = 230.0
"""Largest axial section of a brain in cm²: an ellipse of 16 by 18.3 cm. Heads with skin and nose have 240 or more."""

DUST = 1e-6
"""Largest distance from the background, as a share of the scan's bright values, that resampling leaves behind."""

BORDER = 0.5
"""Share of the voxels on the faces of the field that must have one value for it to be the background."""


@dataclass(frozen=True, eq=False)
class Settled:
    """A scan with the background 0.

    Attributes:
        volume: The scan; unchanged if its background was 0, or if it has none.
        value: The background that was subtracted.
        dust: Number of voxels that were nearly, but not exactly, background.
    """

    volume: Volume
    value: float = 0.0
    dust: int = 0

    @property
    def notes(self) -> list[str]:
        """What was done, as predicates of a sentence about the scan."""
        found = []
        if self.value:
            found.append(
                f"has the value {self.value:g} outside the brain, where background is 0; it was subtracted from the "
                "whole scan"
            )
        if self.dust:
            found.append(
                f"has {self.dust} values next to its background (within {DUST:g} of the bright values, as resampling "
                "leaves them), which count as background"
            )
        return found


def settle(volume: Volume) -> Settled:
    """Return a scan with the background 0.

    A background is 0 or the lowest value, and covers at least ``MIN_BACKGROUND`` of the field. The lowest value is
    subtracted from the whole scan.

    Raises:
        BadFile: If two values, or one inside the scan's range, could be the background.
    """
    array = volume.array
    low = volume.ends[0]
    margin = _margin(array)
    shares = {value: _share(_near(volume, value, margin)) for value in {0.0, low}}
    candidates = [value for value, share in shares.items() if share >= MIN_BACKGROUND]
    if len(candidates) == 2 and abs(low) > margin:
        cause = f"has two backgrounds, 0 and {low:g} ({shares[0.0]:.0%} and {shares[low]:.0%} of the field)"
        raise BadFile(volume.path, cause, "set both to 0")
    if not candidates:
        _check_border(volume)
        return Settled(volume)
    value = candidates[0] if abs(low) > margin else 0.0
    if value == 0 and not margin:
        return Settled(volume)
    near = _near(volume, value, margin)
    dust = int(np.count_nonzero(near & (array != value)))
    if value == 0 and not dust:
        return Settled(volume)
    kind = np.int64 if array.dtype.kind in "iu" and value == int(value) else np.float32
    moved = np.subtract(array, value, dtype=kind, casting="unsafe")
    moved[near] = 0
    return Settled(replace(volume, array=moved), value, dust)


def no_background(volume: Volume) -> str:
    """Return why a scan has no background, or an empty text if it has one."""
    share = _share(~_inside(volume))
    if share >= MIN_BACKGROUND:
        return ""
    return f"only {share:.0%} of {volume.path.name} is background of one value"


def not_stripped(volume: Volume) -> str:
    """Return why a scan probably shows skull and skin, or an empty text if it is probably stripped.

    A stripped scan is exactly 0 or at its lowest value outside a brain, and no brain is larger than a head. A small
    head with a clean background can pass for a large brain.
    """
    if reason := no_background(volume):
        return reason
    area = _largest_section(_inside(volume), volume)
    return f"its largest axial section of {area:.0f} cm² is larger than a brain's" if area > MAX_AREA_CM2 else ""


def below_background(volume: Volume) -> bool:
    """Whether a scan is 0 outside the brain and goes below 0 inside, as z-scores do."""
    return volume.ends[0] < 0 and _share(~volume.shown) >= MIN_BACKGROUND


def _inside(volume: Volume) -> Bool[np.ndarray, "x y z"]:
    """Return where a scan is not background: 0 if it goes below 0 inside, its lowest value otherwise."""
    if volume.ends[0] == 0 or below_background(volume):
        return volume.shown
    return np.asarray(volume.array != volume.array.min())


def _share(seen: Bool[np.ndarray, "x y z"]) -> float:
    return int(np.count_nonzero(seen)) / seen.size


def _margin(array: Shaped[np.ndarray, "x y z"]) -> float:
    """Return the largest distance from the background that counts as none; whole numbers are exact."""
    if array.dtype.kind != "f":
        return 0.0
    low, high = np.percentile(array[::2, ::2, ::2], (0.2, 99.8))
    return DUST * float(high - low)


def _near(volume: Volume, value: float, margin: float) -> Bool[np.ndarray, "x y z"]:
    array = volume.array
    if not margin and not value:
        return ~volume.shown
    return np.abs(array - np.float32(value)) <= margin if margin else array == value


def _check_border(volume: Volume) -> None:
    """Refuse a scan whose faces have one value that is neither 0 nor its lowest."""
    array = volume.array
    faces = np.concatenate([array[[0, -1]].ravel(), array[:, [0, -1]].ravel(), array[:, :, [0, -1]].ravel()])
    values, counts = np.unique(faces, return_counts=True)
    value = values[counts.argmax()]
    if counts.max() >= BORDER * faces.size and float((array == value).mean()) >= MIN_BACKGROUND:
        cause = f"has the value {value:g} outside the brain, and lower values inside"
        raise BadFile(volume.path, cause, "set the background to 0")


def _largest_section(seen: Bool[np.ndarray, "x y z"], volume: Volume) -> float:
    """Return the area in cm² of the largest connected, filled axial section."""
    from scipy.ndimage import binary_fill_holes, label

    x, y, _ = volume.spacing
    best = 0
    sizes = np.array([np.count_nonzero(seen[:, :, k]) for k in range(seen.shape[2])])
    for k in np.argsort(sizes)[::-1][:5]:
        section = seen[:, :, k]
        rows, columns = (np.flatnonzero(section.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            continue
        # Neither pieces nor holes change with the field around them.
        pieces, count = label(section[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        if count:
            largest = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
            best = max(best, int(binary_fill_holes(largest).sum()))
    return best * x * y / 100
