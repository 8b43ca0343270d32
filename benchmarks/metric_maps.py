"""Synthetic maps and lesion masks of any number of slices, for the comparison of implementations of the metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

SIZE = 256


def make_data(folder: Path, count: int) -> None:
    """Write ``maps.bin`` (float32 in 0..1) and ``masks.bin`` (bytes): every second slice has 2 % lesion pixels."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    with open(folder / "maps.bin", "wb") as maps, open(folder / "masks.bin", "wb") as masks:
        for number in range(count):
            noise = gaussian_filter(rng.standard_normal((SIZE, SIZE), dtype=np.float32), 6)
            field = noise / noise.std() * 0.5 + rng.normal(0, 0.2)
            mask = np.zeros((SIZE, SIZE), dtype=bool)
            for _ in range(rng.integers(0, 4)):
                field += rng.uniform(0.5, 1.5) * _bump(rng, rows, columns)
            if number % 2:
                mask = _lesions(rng, rows, columns)
                field += rng.uniform(0.4, 4.0) * gaussian_filter(mask.astype(np.float32), 4)
            np.minimum(np.exp(field) / 40, 1).astype(np.float32).tofile(maps)
            mask.astype(np.uint8).tofile(masks)


def _bump(rng: Any, rows: Any, columns: Any) -> Any:
    row, column, width = rng.uniform(0, SIZE), rng.uniform(0, SIZE), rng.uniform(4, 14)
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))


def _lesions(rng: Any, rows: Any, columns: Any) -> Any:
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    blobs = int(rng.integers(1, 5))
    for _ in range(blobs):
        row, column = rng.uniform(25, SIZE - 25, size=2)
        stretch = rng.uniform(0.6, 1.6)
        radius = np.sqrt(0.02 * SIZE * SIZE / blobs / np.pi)
        wobble = 1 + 0.2 * np.sin(3 * np.arctan2(rows - row, columns - column) + rng.uniform(0, 6))
        mask |= ((rows - row) * stretch) ** 2 + ((columns - column) / stretch) ** 2 < (radius * wobble) ** 2
    for _ in range(rng.integers(0, 3)):
        row, column = rng.integers(2, SIZE - 6, size=2)
        height, width = rng.integers(1, 4), rng.integers(1, 5)
        mask[row : row + height, column : column + width] = True
    return mask
