"""Distinguishing a whole head from a skull-stripped brain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from anyadbench.data.trees.volume import Volume

MIN_BACKGROUND = 0.15
"""Smallest share of exact zeros in a stripped scan: even an ellipse that touches its box leaves a fifth of it."""

MAX_AREA_CM2 = 230.0
"""Largest axial section of a brain in cm²: an ellipse of 16 by 18.3 cm. Heads with skin and nose have 240 or more."""


def not_stripped(volume: Volume) -> str:
    """Return why a scan probably shows skull and skin, or an empty text if it is probably stripped.

    A stripped scan is exactly 0 or at its lowest value outside a brain, and no brain is larger than a head. A small
    head with a clean background can pass for a large brain; no scan is refused because of this.
    """
    array = volume.array
    background = array == (0 if below_background(volume) else array.min())
    share = float(background.mean())
    if share < MIN_BACKGROUND:
        return f"only {share:.0%} of {volume.path.name} is background of one value"
    area = _largest_section(~background, volume)
    if area > MAX_AREA_CM2:
        return f"its largest axial section of {area:.0f} cm² is larger than a brain's"
    return ""


def below_background(volume: Volume) -> bool:
    """Whether a scan is 0 outside the brain and goes below 0 inside, as z-scores do."""
    array = volume.array
    return bool(array.min() < 0) and float((array == 0).mean()) >= MIN_BACKGROUND


def _largest_section(seen: np.ndarray, volume: Volume) -> float:
    """Return the area in cm² of the largest connected, filled axial section."""
    from scipy.ndimage import binary_fill_holes, label

    x, y, _ = volume.spacing
    best = 0
    for k in np.argsort(seen.sum(axis=(0, 1)))[::-1][:5]:
        pieces, count = label(seen[:, :, k])
        if count:
            largest = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
            best = max(best, int(binary_fill_holes(largest).sum()))
    return best * x * y / 100
