"""The contrastive loss between the contents of two sequences of a slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from anyadbench.api import at_least_single, full_precision

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

FLOOR = 1e-8


@full_precision
def contrastive_loss(
    first: Float[Tensor, "B N D"],
    second: Float[Tensor, "B N D"],
    first_tissue: Bool[Tensor, "B N"],
    second_tissue: Bool[Tensor, "B N"],
    temperature: float = 0.05,
) -> Float[Tensor, ""]:
    """Return the published loss: each patch of one sequence against every patch of the other.

    Background does not leave the sums: its similarities become 0, so that each still counts as exp(0) = 1, and rows of
    background add about ln N. The sum over all patches is divided by the number of patches with tissue in both.
    Exchanging the sequences changes the value.

    The similarity is a product of normalised matrices; the published broadcast needs a hundred times the memory.

    Args:
        first: Patch tokens of the sequence whose patches are the rows, without the class token.
        second: Patch tokens of the other sequence.
        first_tissue: Patches of the first with tissue.
        second_tissue: Patches of the second with tissue.
        temperature: Divisor of the similarities.

    Returns:
        The loss; 0 if no patch has tissue in both, where the published formula divides by 0.
    """
    rows, columns = (F.normalize(at_least_single(x), dim=2) for x in (first, second))
    both = first_tissue[:, :, None] & second_tissue[:, None]
    similarity = torch.where(both, rows @ columns.transpose(1, 2), 0.0)
    weights = (similarity / temperature).exp()
    matching = weights.diagonal(dim1=1, dim2=2)
    losses = -torch.log((matching + FLOOR) / (weights.sum(2) + FLOOR))
    common = (first_tissue & second_tissue).sum()
    return torch.where(common > 0, losses.sum() / common.clamp(min=1), 0.0)
