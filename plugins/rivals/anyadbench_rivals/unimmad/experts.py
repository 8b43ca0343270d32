"""The cross-condition mixture of experts of UniMMAD (``cmoe.py``).

For each picture a router chooses leaders; each leader mixes the kernels of a shared bank, separately for every output
channel. The picture's own features enter through the router alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from anyadbench_rivals.unimmad.layers import conv, conv_norm_relu, norm_relu

if TYPE_CHECKING:
    from jaxtyping import Float, Int

KERNELS = (1, 3, 5)
FLOOR, LOGIT_WEIGHT = 1e-8, 1e-4
CHUNK = 8
"""Pictures whose kernels exist at the same time: 27.5 MB each at the published width, for all three sizes together."""


@dataclass(frozen=True)
class ExpertSizes:
    """Sizes of the mixture; the defaults are the published ones.

    Attributes:
        width: Channels inside.
        bases: Kernels in the bank of each kernel size.
        leaders: Mixtures that the router chooses from.
        top: How many it chooses.
    """

    width: int = 256
    bases: int = 8
    leaders: int = 32
    top: int = 2


@dataclass(frozen=True)
class Routed:
    """What a branch or a level returns.

    Attributes:
        features: Its output.
        balance: Load-balancing loss.
        chosen: Chosen leaders in descending order of weight; for a level, one block for each branch.
    """

    features: Float[Tensor, "N C h w"]
    balance: Float[Tensor, ""]
    chosen: Int[Tensor, ...]


class Router(nn.Module):
    """Logits of the leaders from the condition."""

    def __init__(self, sizes: ExpertSizes) -> None:
        super().__init__()
        self.gate = nn.Linear(sizes.width, sizes.leaders)
        self.top = sizes.top

    def forward(
        self, condition: Float[Tensor, "N E"]
    ) -> tuple[Float[Tensor, "N K"], Int[Tensor, "N K"], Float[Tensor, ""]]:
        """Return weights of the chosen leaders, their numbers, and the load-balancing loss.

        The loss takes the mean over all pictures of a step, so it depends on how slices are batched.
        """
        logits = self.gate(condition)
        probabilities = logits.softmax(1)
        weights, chosen = probabilities.topk(self.top, dim=1)
        load = probabilities.mean(0)
        spread = load.var(unbiased=False) / (load.mean().square() + FLOOR)
        balance = spread + LOGIT_WEIGHT * logits.logsumexp(1).square().mean()
        return weights / (weights.sum(1, keepdim=True) + FLOOR), chosen, balance


class ExpertBranch(nn.Module):
    """One kernel size: a fixed convolution beside the mixture of the chosen leaders.

    Args:
        sizes: Sizes of the mixture.
        kernel: Side of the kernels.
    """

    def __init__(self, sizes: ExpertSizes, kernel: int) -> None:
        super().__init__()
        width = sizes.width
        self.soft_expert = nn.Parameter(torch.zeros(width, width, kernel, kernel))
        nn.init.dirac_(self.soft_expert)
        self.experts = nn.Parameter(0.02 * torch.randn(sizes.leaders, sizes.bases, width))
        self.gate = Router(sizes)
        self.pre = conv_norm_relu(width, width)
        self.post = conv_norm_relu(2 * width, width)

    def forward(
        self,
        key: Float[Tensor, "B E h w"],
        condition: Float[Tensor, "N E"],
        owner: Int[Tensor, " N"],
        bank: Float[Tensor, "b E E k k"],
    ) -> Routed:
        """Return the branch's output for every picture.

        Args:
            key: General features of each slice.
            condition: Condition of each picture.
            owner: Slice that each picture belongs to.
            bank: Kernels that all leaders share.
        """
        weights, chosen, balance = self.gate(condition)
        x = self.pre(key)
        fixed = F.conv2d(x, self.soft_expert, padding=self.soft_expert.shape[-1] // 2)
        # One kernel per picture: the leaders' kernels are added first, since a convolution is linear in its kernel.
        mixture = (weights[..., None, None] * self.experts.softmax(1)[chosen]).sum(1)
        starts = [slice(start, start + CHUNK) for start in range(0, len(owner), CHUNK)]
        mixed = torch.cat([_chunk(x[owner[at]], mixture[at], bank) for at in starts])
        return Routed(self.post(torch.cat([fixed[owner], mixed], dim=1)), balance, chosen)


def _chunk(
    x: Float[Tensor, "n E h w"], mixture: Float[Tensor, "n b E"], bank: Float[Tensor, "b E E k k"]
) -> Float[Tensor, "n E h w"]:
    """Convolve some pictures; in training their kernels are computed again for the gradient instead of kept."""
    if torch.is_grad_enabled():
        found: Tensor = checkpoint(mixed_convolution, x, mixture, bank, use_reentrant=False)
        return found
    return mixed_convolution(x, mixture, bank)


def mixed_convolution(
    x: Float[Tensor, "n E h w"], mixture: Float[Tensor, "n b E"], bank: Float[Tensor, "b E E k k"]
) -> Float[Tensor, "n E h w"]:
    """Convolve each picture with its own mixture of kernels, weighted per output channel."""
    count, width = x.shape[:2]
    kernels = torch.einsum("nbo,boikl->noikl", mixture, bank)
    joined = F.conv2d(x.flatten(0, 1)[None], kernels.flatten(0, 1), padding=bank.shape[-1] // 2, groups=count)
    return joined.view(count, width, *x.shape[2:])


class CrossExperts(nn.Module):
    """The mixture of one level: reconstructs a picture's features from the general ones (``c_moes``).

    ``conv_out_second`` and ``prior_head`` are in the published state dict and are never called.

    Args:
        channels: Channels of the level.
        sizes: Sizes of the mixture.
    """

    def __init__(self, channels: int, sizes: ExpertSizes) -> None:
        super().__init__()
        width = sizes.width
        self.conv_share, self.conv_prior = (conv_norm_relu(channels, width) for _ in range(2))
        self.conv_cond = nn.Sequential(
            nn.Sequential(conv(2 * width, width, 3), nn.BatchNorm2d(width), nn.GELU()),
            norm_relu(width),
            conv(width, width, 1),
            norm_relu(width),
        )
        self.MoEs = nn.ModuleList(ExpertBranch(sizes, kernel) for kernel in KERNELS)
        self.expert_bases = nn.ParameterList(
            0.05 * torch.randn(sizes.bases, width, width, kernel, kernel) for kernel in KERNELS
        )
        self.conv_out_first = conv_norm_relu(3 * width, channels)
        self.conv_out_second, self.prior_head = (conv(width, 1, 1, bias=True) for _ in range(2))

    def forward(
        self, general: Float[Tensor, "B C h w"], own: Float[Tensor, "N C h w"], owner: Int[Tensor, " N"]
    ) -> Routed:
        """Return the reconstruction of each picture's features, which is never negative.

        Args:
            general: General features of each slice, of unit length at every position.
            own: Features of each picture, of unit length.
            owner: Slice that each picture belongs to.
        """
        key, query = self.conv_share(general), self.conv_prior(own)
        condition = self.conv_cond(torch.cat([key[owner], query], dim=1)).mean((2, 3))
        branches = [
            branch(key, condition, owner, bank) for branch, bank in zip(self.MoEs, self.expert_bases, strict=True)
        ]
        features = self.conv_out_first(torch.cat([branch.features for branch in branches], dim=1))
        balance = torch.stack([branch.balance for branch in branches]).sum()
        return Routed(features, balance, torch.stack([branch.chosen for branch in branches]))
