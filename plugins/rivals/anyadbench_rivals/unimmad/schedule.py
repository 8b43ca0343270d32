"""The learning rate of UniMMAD."""

from __future__ import annotations

import math
from collections.abc import Callable


def cosine_by_epoch(epochs: int) -> Callable[[int, int], float]:
    """Return half a cosine from 1 towards 0 in so many equal shares of the training, stepped after each.

    Args:
        epochs: Published epochs (``T_max`` of ``CosineAnnealingLR``).
    """

    def factor(step: int, total: int) -> float:
        return (1 + math.cos(math.pi * (epochs * step // max(1, total)) / epochs)) / 2

    return factor
