"""Forms of AnyAD's distribution alignment: which features of an incomplete input are pulled towards the full input.

The published form compares features of a frozen encoder, so no parameter gets a gradient from it. The other forms apply
the same idea to something that trains; they are extensions, not the published method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from anyadbench_baselines.inp import losses
from anyadbench_baselines.inp.network import Decoded, Encoded, InpNetwork
from anyadbench_baselines.inp.statistics import moment_distance, moments

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

GROUPS = 2


@dataclass(frozen=True)
class Pair:
    """One training batch as shown and, if a form needs it, with every sequence that the scans have.

    Attributes:
        shown: Encoder output of the shown sequences, after ``Alignment.adapt``.
        decoded: Output of the network for it.
        full: Encoder output of the full input, without gradient.
        network: The network.
        mining_power: Exponent of the soft mining factor.
    """

    shown: Encoded
    decoded: Decoded
    full: Encoded | None
    network: InpNetwork
    mining_power: float = 3.0


class Alignment(nn.Module):
    """No alignment; base of the forms."""

    needs_full: ClassVar[bool] = False
    """Whether ``Pair.full`` is needed (a second encoder pass per training step)."""
    needs_target: ClassVar[bool] = False
    """Whether the form compares with statistics of the whole training set."""

    target_mean: Float[Tensor, "G D"]
    target_std: Float[Tensor, "G D"]

    def __init__(self, width: int, sequences: int) -> None:
        super().__init__()
        del sequences
        if self.needs_target:
            self.register_buffer("target_mean", torch.zeros(GROUPS, width))
            self.register_buffer("target_std", torch.ones(GROUPS, width))

    def adapt(self, encoded: Encoded, shown: Bool[Tensor, "B S"]) -> Encoded:
        """Return the encoder output that the rest of the network sees, in training and in scoring."""
        del shown
        return encoded

    def loss(self, pair: Pair) -> Tensor | None:
        """Return the alignment loss, before its weight."""
        del pair
        return None

    def _target(self, group: int) -> tuple[Tensor, Tensor]:
        return self.target_mean[group], self.target_std[group]


class EncoderAlignment(Alignment):
    """The published form: batch statistics of the deep encoder group against those of the training set.

    The encoder is frozen, so the value changes with the batch but has no gradient.
    """

    needs_target = True

    def loss(self, pair: Pair) -> Tensor:
        """Return the error of channel means plus that of channel standard deviations."""
        return moment_distance(moments(pair.shown.groups[-1]), self._target(-1))


class BottleneckAlignment(Alignment):
    """Statistics of the bottleneck's output against those for the full input of the same slices."""

    needs_full = True

    def loss(self, pair: Pair) -> Tensor:
        """Return the error of channel means and deviations; the full side has no gradient."""
        assert pair.full is not None
        with torch.no_grad():
            target = moments(pair.network.bottleneck[0](pair.full.tokens))
        return moment_distance(moments(pair.decoded.bottleneck), target)


class TeacherAlignment(Alignment):
    """The decoder also reconstructs the encoder features of the full input from the shown sequences."""

    needs_full = True

    def loss(self, pair: Pair) -> Tensor:
        """Return the mined cosine loss against the full input's features."""
        assert pair.full is not None
        return losses.reconstruction(pair.full.groups, pair.decoded.groups, pair.mining_power).mean()


class AdapterAlignment(Alignment):
    """A small residual MLP on each encoder group, trained on the published statistics alone.

    The other losses give it no gradient: making all features alike would lower them.
    """

    needs_target = True

    def __init__(self, width: int, sequences: int) -> None:
        super().__init__(width, sequences)
        self.adapters = nn.ModuleList(_adapter(width) for _ in range(GROUPS))

    def adapt(self, encoded: Encoded, shown: Bool[Tensor, "B S"]) -> Encoded:
        """Add each group's adapter output."""
        del shown
        return Encoded([x + adapter(x) for x, adapter in zip(encoded.groups, self.adapters, strict=True)])

    def loss(self, pair: Pair) -> Tensor:
        """Return the mean over the groups of the error of means and deviations."""
        parts = [moment_distance(moments(x), self._target(group)) for group, x in enumerate(pair.shown.groups)]
        return torch.stack(parts).mean()


class RecalibrationAlignment(Alignment):
    """A scale and a shift per subset, group and channel, trained to give each slice the full input's statistics."""

    needs_full = True

    def __init__(self, width: int, sequences: int) -> None:
        super().__init__(width, sequences)
        self.scale = nn.Parameter(torch.zeros(2**sequences, GROUPS, width))
        self.shift = nn.Parameter(torch.zeros(2**sequences, GROUPS, width))

    def adapt(self, encoded: Encoded, shown: Bool[Tensor, "B S"]) -> Encoded:
        """Apply the scale and shift of each slice's subset."""
        bits = 2 ** torch.arange(shown.shape[1], device=shown.device)
        subset = (shown.long() * bits).sum(1)
        scale, shift = 1 + self.scale[subset].unsqueeze(2), self.shift[subset].unsqueeze(2)
        return Encoded([x * scale[:, g] + shift[:, g] for g, x in enumerate(encoded.groups)])

    def loss(self, pair: Pair) -> Tensor:
        """Return the mean over slices and groups of the error of means and deviations over space."""
        assert pair.full is not None
        groups = zip(pair.shown.groups, pair.full.groups, strict=True)
        return torch.stack([moment_distance(moments(x, 1), moments(full, 1)) for x, full in groups]).mean()


def _adapter(width: int) -> nn.Sequential:
    """Return a quarter-width MLP that starts at zero."""
    out = nn.Linear(width // 4, width)
    nn.init.zeros_(out.weight)
    nn.init.zeros_(out.bias)
    return nn.Sequential(nn.Linear(width, width // 4), nn.GELU(), out)


ALIGNMENTS: dict[str, type[Alignment]] = {
    "none": Alignment,
    "encoder": EncoderAlignment,
    "bottleneck": BottleneckAlignment,
    "adapter": AdapterAlignment,
    "teacher": TeacherAlignment,
    "recalibration": RecalibrationAlignment,
}
"""Form by the value of parameter ``align``."""
