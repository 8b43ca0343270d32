"""The authors' intensities, filters and figures (``preprocessing``, ``tune.py``, ``evaulate.py``), to reproduce theirs.

Thresholds, filter sizes and component sizes are chosen there on lesions. The method itself uses the median filter
alone, with a size that is a parameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

THRESHOLDS = 100
FOLDS, FOLD_SEED = 5, 42
TINY = 1e-8


def normalise_volume(volume: Float[np.ndarray, "X Y Z"]) -> Float[np.ndarray, "X Y Z"]:
    """Clip the foreground to its 0.2 and 99.8 percentiles and divide by the maximum.

    Foreground is whatever differs from the first voxel. The lower percentile is not subtracted.
    """
    foreground = volume != volume[0, 0, 0]
    low, high = np.percentile(volume[foreground], (0.2, 99.8))
    found = volume.astype(np.float64)
    found[foreground] = found[foreground].clip(low, high)
    return found / found.max()


def reduce_map(maps: Float[Tensor, "B H W"], side: int) -> Float[Tensor, "B h w"]:
    """Reduce maps to the authors' scoring size: bilinear, not antialiased, single precision."""
    return F.interpolate(maps[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0].float()


def median(maps: Float[Tensor, "B H W"], size: int) -> Float[Tensor, "B H W"]:
    """Filter every map as scipy's ``median_filter`` does: the border is reflected with its own pixel repeated.

    Args:
        maps: At least ``size // 2`` pixels high and wide.
        size: Side of the window, odd; 0 and 1 leave the maps alone.
    """
    if size <= 1:
        return maps
    border = size // 2
    rows, columns = (_reflected(side, border, maps.device) for side in maps.shape[1:])
    windows = maps[:, rows][:, :, columns].unfold(1, size, 1).unfold(2, size, 1)
    # Torch's median raises on a GPU if only deterministic algorithms are allowed.
    return windows.flatten(3).sort(dim=-1).values[..., (size * size - 1) // 2]


def _reflected(side: int, border: int, device: torch.device) -> Int[Tensor, " N"]:
    own = torch.arange(side, device=device)
    return torch.cat([own[:border].flip(0), own, own[side - border :].flip(0)])


def drop_small(binary: Bool[np.ndarray, "B H W"], least: int) -> Bool[np.ndarray, "B H W"]:
    """Remove 8-connected components of fewer than ``least`` pixels from every slice; 0 keeps all."""
    if least <= 0:
        return binary
    kept = np.zeros_like(binary)
    for index, picture in enumerate(binary):
        labels, _ = ndimage.label(picture, structure=np.ones((3, 3)))
        large = np.bincount(labels.ravel()) >= least
        large[0] = False
        kept[index] = large[labels]
    return kept


def dice(found: Bool[np.ndarray, "B H W"], target: Bool[np.ndarray, "B H W"]) -> float:
    """Return the Dice coefficient of all pixels of all slices together."""
    return float(2 * (found & target).sum() / (found.sum() + target.sum() + TINY))


def best_dice(
    maps: Float[np.ndarray, "B H W"], target: Bool[np.ndarray, "B H W"], least: int = 0
) -> tuple[float, float]:
    """Return the highest pooled Dice over 100 thresholds from the least to the greatest value, and its threshold."""
    thresholds = np.linspace(maps.min(), maps.max(), THRESHOLDS)
    figures = [dice(drop_small(maps > threshold, least), target) for threshold in thresholds]
    best = int(np.argmax(figures))
    return figures[best], float(thresholds[best])


def fivefold_dice(
    maps: Float[np.ndarray, "B H W"], target: Bool[np.ndarray, "B H W"], least: int = 0
) -> tuple[float, float]:
    """Return mean and standard deviation of Dice over five folds of slices, each at the others' best threshold.

    Slices of one patient fall into several folds.
    """
    figures = []
    for held in _folds(len(maps)):
        others = np.setdiff1d(np.arange(len(maps)), held)
        _, threshold = best_dice(maps[others], target[others], least)
        figures.append(dice(drop_small(maps[held] > threshold, least), target[held]))
    return float(np.mean(figures)), float(np.std(figures))


def _folds(count: int) -> Iterator[Int[np.ndarray, " N"]]:
    """Yield the test slices of scikit-learn's shuffled ``KFold``."""
    order = np.arange(count)
    np.random.RandomState(FOLD_SEED).shuffle(order)
    yield from np.array_split(order, FOLDS)


def pixel_areas(maps: Float[np.ndarray, "B H W"], target: Bool[np.ndarray, "B H W"]) -> tuple[float, float]:
    """Return the areas under the ROC and, by trapezoids, under the precision-recall curve, of all pixels."""
    order = np.argsort(-maps, axis=None, kind="stable")
    scores, hits = maps.ravel()[order], target.ravel()[order]
    last = np.append(np.diff(scores) != 0, True)
    true, false = np.cumsum(hits)[last], np.cumsum(~hits)[last]
    recall = np.append(0.0, true / true[-1])
    precision = np.append(1.0, true / (true + false))
    return float(np.trapezoid(recall, np.append(0.0, false / false[-1]))), float(np.trapezoid(precision, recall))
