"""The INP-Former network: frozen encoder, bottleneck, prototypes, decoder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from anyadbench.api import load_strictly
from anyadbench_baselines.inp.blocks import DecoderBlock, Extractor, Mlp
from anyadbench_baselines.inp.encoder import TAPS, Encoder, ViTConfig
from anyadbench_baselines.inp.naming import fold_class_position, published_encoder

if TYPE_CHECKING:
    from jaxtyping import Float

    from anyadbench.api import ResolvedWeights

DECODER_BLOCKS = 8


@dataclass(frozen=True)
class Encoded:
    """Output of the frozen encoder for a batch, possibly adapted.

    Attributes:
        groups: Mean tokens of the shallow and the deep group of blocks.
    """

    groups: list[Float[Tensor, "B N D"]]

    @property
    def tokens(self) -> Float[Tensor, "B N D"]:
        """Mean of all taps, which is the mean of the groups since they have one size."""
        return _mean(self.groups)

    def detach(self) -> Encoded:
        """Return the same without gradients."""
        return Encoded([group.detach() for group in self.groups])


@dataclass(frozen=True)
class Decoded:
    """Output of the trained parts.

    Attributes:
        groups: Reconstruction of each encoder group.
        bottleneck: Output of the bottleneck.
        prototypes: The prototypes of each slice.
    """

    groups: list[Float[Tensor, "B N D"]]
    bottleneck: Float[Tensor, "B N D"]
    prototypes: Float[Tensor, "B M D"]


class InpNetwork(nn.Module):
    """INP-Former's network (arXiv 2503.02424, ``models/uad.py``).

    Trained parts are named as in the published checkpoints: ``bottleneck.0``, ``aggregation.0``, ``decoder.0`` to
    ``decoder.7`` and ``prototype_token``.
    """

    def __init__(self, config: ViTConfig, prototypes: int = 6) -> None:
        super().__init__()
        width, hidden = config.width, int(config.width * config.mlp_ratio)
        self.encoder = Encoder(config)
        self.bottleneck = nn.ModuleList([Mlp(width, hidden)])
        self.aggregation = nn.ModuleList([Extractor(width, config.heads, hidden)])
        self.decoder = nn.ModuleList(DecoderBlock(width, config.heads, hidden) for _ in range(DECODER_BLOCKS))
        self.prototype_token = nn.Parameter(torch.randn(prototypes, width))
        for part in (self.bottleneck, self.aggregation, self.decoder):
            part.apply(_initialise)

    def trained(self) -> list[nn.Parameter]:
        """Return the parameters outside the encoder."""
        return [parameter for name, parameter in self.named_parameters() if not name.startswith("encoder.")]

    def encode(self, pixels: Float[Tensor, "B 3 H W"]) -> Encoded:
        """Run the frozen encoder on normalised pixels."""
        return Encoded(self.encoder(pixels))

    def decode(self, encoded: Encoded) -> Decoded:
        """Extract prototypes and reconstruct the encoder's groups."""
        tokens = encoded.tokens
        prototypes = self.aggregation[0](self.prototype_token, tokens)
        bottleneck = self.bottleneck[0](tokens)
        # Under autocast, blocks get single precision from one another; with one type, they share what is compiled. On a
        # GPU, the norm at their beginning would widen it anyway.
        x = bottleneck.to(torch.promote_types(bottleneck.dtype, torch.float32))
        outputs = []
        for block in self.decoder:
            x = block(x, prototypes)
            outputs.append(x)
        outputs.reverse()  # the last blocks reconstruct the shallow group
        size = DECODER_BLOCKS // len(TAPS)
        groups = [_mean(outputs[start : start + size]) for start in range(0, DECODER_BLOCKS, size)]
        return Decoded(groups, bottleneck, prototypes)


def build_network(weights: ResolvedWeights, *, prototypes: int, registers: bool) -> InpNetwork:
    """Return the network with the encoder's weights loaded.

    Args:
        weights: Resolved weights in timm's naming. Kind ``random`` leaves the encoder at its random start; from kind
            ``checkpoint`` only the sizes are used, and the harness loads the whole network.
        prototypes: Number of prototypes.
        registers: Whether to use the weights' register tokens.

    Raises:
        UserError: If the weights are not for a DINOv2 transformer of at least ten blocks.
    """
    if weights.kind == "random":
        return InpNetwork(_with_registers(ViTConfig.of(weights.architecture), registers), prototypes)
    if weights.kind == "checkpoint":
        config = ViTConfig.like(published_encoder(weights.published()))
        return InpNetwork(_with_registers(config, registers), prototypes)
    state = fold_class_position(weights.state_dict())
    config = _with_registers(ViTConfig.like(state), registers)
    if not config.registers:
        state.pop("reg_token", None)
    network = InpNetwork(config, prototypes)
    load_strictly(network.encoder.vit, state, f"Weights file {weights.name!r}")
    return network


def _with_registers(config: ViTConfig, registers: bool) -> ViTConfig:
    return config if registers else replace(config, registers=0)


def _mean(parts: list[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total / len(parts)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.01, a=-0.03, b=0.03)
        nn.init.zeros_(module.bias)
