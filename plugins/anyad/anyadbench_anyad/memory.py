"""A memory of normal tokens, which weighs the reconstruction error of "AnyAD + teacher (this project)".

A decoder that has trained little reconstructs the edges of normal brains badly, too, and a token that no normal slice
resembles may be reconstructed well. The product of the two distances is high where both are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anyadbench.api import Batch, Normals, UserError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    Encode = Callable[[Batch], list[Float[Tensor, "B N D"]]]

SLICES = 64
"""Training normals, evenly spread, whose tokens are remembered; each is shown as every subset that it can be."""

TISSUE = 0.05
"""Smallest share of a patch's pixels where a shown sequence is above 0, for its token to be remembered."""


class TokenMemory(nn.Module):
    """Tokens of training normals, drawn in equal numbers from every subset of sequences that they can be shown as.

    Args:
        size: Number of tokens in each group of the encoder.
        groups: Number of groups.
        width: Length of a token.
    """

    tokens: Float[Tensor, "G M D"]

    def __init__(self, size: int, groups: int, width: int) -> None:
        super().__init__()
        self.register_buffer("tokens", torch.zeros(groups, size, width))

    @torch.no_grad()
    def fill(self, normals: Normals, encode: Encode, batch_size: int) -> None:
        """Draw tokens by torch's generator.

        Args:
            normals: The training normals.
            encode: Returns the groups of the frozen encoder for a batch.
            batch_size: Slices in a call of ``encode``.

        Raises:
            UserError: If no training normal has tissue.
        """
        found = []
        for slices in _shown_as_subsets(_spread(normals, batch_size)):
            parts = [_tissue(part, encode(part)) for part in _split(slices, batch_size)]
            found.append(torch.cat(parts, 1))
        found = [tokens for tokens in found if tokens.shape[1]]
        if not found:
            raise UserError("No training slice of anyad shows tissue; check the data, or use --set anyad.memory=0.")
        size = self.tokens.shape[1]
        share = math.ceil(size / len(found))
        drawn = torch.cat([tokens[:, torch.randperm(tokens.shape[1])[:share]] for tokens in found], 1)
        # A token that comes twice changes nothing: only the nearest one counts.
        self.tokens.copy_(drawn[:, torch.arange(size) % drawn.shape[1]])

    def distance(self, groups: list[Float[Tensor, "B N D"]]) -> Float[Tensor, "B N"]:
        """Return 1 - cosine between each token and the nearest one remembered, averaged over groups."""
        parts = []
        for tokens, memory in zip(groups, self.tokens, strict=True):
            cosine = F.normalize(tokens.to(memory.dtype), dim=-1) @ memory.T
            parts.append(1 - cosine.amax(-1))
        return torch.stack(parts).mean(0)


def inside(batch: Batch, side: int) -> Bool[Tensor, "B h w"]:
    """Return where a map of ``side`` x ``side`` pixels shows the brain: where any shown sequence is above 0."""
    tissue = (batch.inputs > 0).any(1, keepdim=True).to(torch.float32)
    return F.interpolate(tissue, (side, side), mode="nearest-exact")[:, 0] > 0


def _spread(normals: Normals, batch_size: int) -> Batch:
    """Return evenly spread training normals with every sequence that they have."""
    wanted = set(torch.linspace(0, len(normals) - 1, min(len(normals), SLICES)).round().long().tolist())
    inputs, shown, first = [], [], 0
    for batch in normals.batches(batch_size, description="memory of normal tokens"):
        rows = [row for row in range(len(batch)) if first + row in wanted]
        inputs.append(batch.inputs[rows])
        shown.append(batch.shown[rows])
        first += len(batch)
    return Batch(torch.cat(inputs), torch.cat(shown))


def _shown_as_subsets(slices: Batch) -> Iterator[Batch]:
    """Yield, for every non-empty set of sequences, the slices that have all of it, shown as exactly that set."""
    count = slices.shown.shape[1]
    for size in range(1, count + 1):
        for members in combinations(range(count), size):
            rows = slices.shown[:, list(members)].all(1)
            shown = torch.zeros_like(slices.shown[rows])
            shown[:, list(members)] = True
            if len(shown):
                yield Batch(slices.inputs[rows] * shown[:, :, None, None].to(slices.inputs.dtype), shown)


def _split(slices: Batch, size: int) -> Iterator[Batch]:
    for start in range(0, len(slices), size):
        yield Batch(slices.inputs[start : start + size], slices.shown[start : start + size])


def _tissue(slices: Batch, groups: list[Float[Tensor, "B N D"]]) -> Float[Tensor, "G K D"]:
    """Return the normalised tokens of patches with tissue."""
    tokens = F.normalize(torch.stack(groups).float(), dim=-1)
    side = math.isqrt(tokens.shape[2])
    share = F.adaptive_avg_pool2d((slices.inputs > 0).any(1, keepdim=True).float(), side)
    return tokens.flatten(1, 2)[:, share.flatten() >= TISSUE]
