"""Training masks: which sequences each training slice shows, drawn by a counter-based generator.

A draw depends on the seed, the epoch and the slice's key alone, so it is the same for any batch size, order, number of
workers, and after resuming.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

_PER_EPOCH, _ORDER = 2**62, 2**62 + 1  # counters that no slice key (below 2^62) can take


def _generator(seed: int, epoch: int, key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, epoch, key]))


def draw_shown(
    mode: str, seed: int, epoch: int, keys: Int[np.ndarray, " B"], present: Bool[np.ndarray, "B S"]
) -> Bool[np.ndarray, "B S"]:
    """Draw which sequences each training slice shows.

    Args:
        mode: ``none`` shows everything present; ``per-sample`` draws one non-empty subset of the present sequences per
            slice, uniformly; ``per-epoch`` draws one subset of all sequences per epoch, and a slice shows the ones
            that it has, or everything it has if that would be nothing.
        seed: Seed of the cell.
        epoch: Pass over the training slices, from 0.
        keys: Stable number of each slice, at least 0 and below 2^62.
        present: Which sequences each slice has.

    Returns:
        At least one sequence of each slice, never one that is not present.
    """
    if mode == "none":
        return present.copy()
    if mode == "per-epoch":
        chosen = _pick(_generator(seed, epoch, _PER_EPOCH), np.ones(present.shape[1], dtype=bool))
        shown = present & chosen
        return np.where(shown.any(1, keepdims=True), shown, present)
    drawn = [_pick(_generator(seed, epoch, int(key)), has) for key, has in zip(keys, present, strict=True)]
    return np.stack(drawn) if drawn else present.copy()


def _pick(generator: np.random.Generator, present: Bool[np.ndarray, " S"]) -> Bool[np.ndarray, " S"]:
    """Return a uniformly drawn non-empty subset of ``present``: the bits of one random number."""
    available = np.flatnonzero(present)
    code = int(generator.integers(1, 2 ** len(available)))
    shown = np.zeros(len(present), dtype=bool)
    shown[available] = [(code >> bit) & 1 for bit in range(len(available))]
    return shown


def epoch_order(seed: int, epoch: int, count: int) -> Int[np.ndarray, " N"]:
    """Return the order of ``count`` training slices in an epoch."""
    return _generator(seed, epoch, _ORDER).permutation(count)
