"""The two losses of INP-Former: mined reconstruction, and gathering of tokens around prototypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


class _ScaleGradient(torch.autograd.Function):
    """Identity whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return grads[0] * factor, None


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def mined_cosine(
    target: Float[Tensor, "B N D"], decoded: Float[Tensor, "B N D"], power: float = 3.0
) -> Float[Tensor, " B"]:
    """Return 1 - cosine of each slice's flattened features, with the gradient of easy positions scaled down.

    The gradient at a position is multiplied by (d / mean d) ** ``power``, where d is 1 - cosine there and the mean runs
    over batch and space (soft mining loss, ``global_cosine_hm_adaptive``). Scaling both inner products of a position
    instead of its D features gives the same gradient.
    """
    target, decoded = _wide(target).detach(), _wide(decoded)
    across = (target * decoded).sum(-1)
    own = decoded.square().sum(-1)
    fixed = target.square().sum(-1)
    if power:
        with torch.no_grad():
            distance = 1 - across / (fixed * own).sqrt().clamp_min(1e-8)
            factor = (distance / distance.mean()) ** power
        across, own = _ScaleGradient.apply(across, factor), _ScaleGradient.apply(own, factor)
    loss: Tensor = 1 - across.sum(1) / (fixed.sum(1) * own.sum(1)).sqrt().clamp_min(1e-8)
    return loss


def reconstruction(
    targets: list[Float[Tensor, "B N D"]], decoded: list[Float[Tensor, "B N D"]], power: float = 3.0
) -> Float[Tensor, " B"]:
    """Return the mean over the groups of ``mined_cosine``, per slice."""
    return torch.stack([mined_cosine(t, d, power) for t, d in zip(targets, decoded, strict=True)]).mean(0)


def gather(tokens: Float[Tensor, "B N D"], prototypes: Float[Tensor, "B M D"]) -> Float[Tensor, ""]:
    """Return the mean over tokens of the cosine distance to the nearest prototype (INP coherence loss)."""
    tokens, prototypes = _wide(tokens), F.normalize(_wide(prototypes), dim=-1, eps=1e-8)
    length = torch.linalg.vector_norm(tokens, dim=-1).clamp_min(1e-8)
    nearest: Tensor = (tokens @ prototypes.transpose(1, 2)).amax(dim=-1) / length
    return (1 - nearest).mean()
