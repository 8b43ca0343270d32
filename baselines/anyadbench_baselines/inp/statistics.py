"""Per-channel statistics of features, merged batch by batch, and a distance between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass
class ChannelStatistics:
    """Running count, mean and sum of squared deviations per channel (Chan, Golub and LeVeque's merge).

    AnyAD's release holds the features of the whole training set in memory (2.4 MB per slice) for the same two vectors.
    """

    count: int = 0
    mean: Float[Tensor, " D"] | None = None
    squares: Float[Tensor, " D"] | None = None

    def update(self, features: Float[Tensor, "B N D"]) -> None:
        """Merge one batch of tokens, in double precision if the device supports it."""
        wide = torch.float32 if features.device.type == "mps" else torch.float64
        values = features.flatten(0, -2).to(wide)
        count, mean = values.shape[0], values.mean(0)
        squares = (values - mean).square().sum(0)
        if self.mean is None or self.squares is None:
            self.count, self.mean, self.squares = count, mean, squares
            return
        total, delta = self.count + count, mean - self.mean
        self.mean = self.mean + delta * (count / total)
        self.squares = self.squares + squares + delta.square() * (self.count * count / total)
        self.count = total

    def result(self) -> tuple[Float[Tensor, " D"], Float[Tensor, " D"]]:
        """Return mean and unbiased standard deviation.

        Raises:
            ValueError: If fewer than two tokens were seen.
        """
        if self.mean is None or self.squares is None or self.count < 2:
            raise ValueError("statistics need at least two tokens")
        return self.mean, (self.squares / (self.count - 1)).sqrt()


def moments(
    features: Float[Tensor, "B N D"], dim: int | tuple[int, ...] = (0, 1)
) -> tuple[Float[Tensor, "... D"], Float[Tensor, "... D"]]:
    """Return mean and unbiased standard deviation per channel, by default over batch and space."""
    std, mean = torch.std_mean(features.to(torch.promote_types(features.dtype, torch.float32)), dim=dim)
    return mean, std


def moment_distance(
    own: tuple[Float[Tensor, "... D"], Float[Tensor, "... D"]],
    target: tuple[Float[Tensor, "... D"], Float[Tensor, "... D"]],
) -> Float[Tensor, ""]:
    """Return the mean squared error of the means plus that of the standard deviations (AnyAD's alignment loss)."""
    return F.mse_loss(own[0], target[0]) + F.mse_loss(own[1], target[1])
