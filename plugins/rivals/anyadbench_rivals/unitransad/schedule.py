"""The learning rate of UniTransAD, which changes once per published epoch."""

from __future__ import annotations

import math
from collections.abc import Callable

EPOCHS, WARM, FLAT, LEAST = 15, 2, 10, 1e-6 / 1e-3
"""Published epochs in all, of the warm-up, and before the decay; least rate as a fraction of the peak."""


def epoch_factor(epoch: int) -> float:
    """Return the factor on the peak rate in a published epoch, counted from 0: 1/2, 1, ..., then half a cosine."""
    if epoch < WARM:
        return (epoch + 1) / WARM
    if epoch < FLAT:
        return 1.0
    return LEAST + (1 - LEAST) * (1 + math.cos(math.pi * (epoch - FLAT) / (EPOCHS - FLAT))) / 2


def warm_flat_cosine() -> Callable[[int, int], float]:
    """Return the schedule over any number of steps: the published 15 epochs in equal shares."""

    def factor(step: int, total: int) -> float:
        return epoch_factor(min(EPOCHS - 1, EPOCHS * step // max(1, total)))

    return factor
