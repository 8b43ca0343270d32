"""INP-Former as a method of the benchmark, trained plainly or with sequences hidden at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from anyadbench.api import (
    Batch,
    Context,
    GraphMethod,
    Losses,
    OptimizerSpec,
    Scores,
    UserError,
    as_rgb,
    load_strictly,
    resize,
)
from anyadbench_baselines.inp import losses, maps
from anyadbench_baselines.inp.naming import from_published, published_name, single_state
from anyadbench_baselines.inp.network import Decoded, Encoded, build_network
from anyadbench_baselines.optim import StableAdamW, warm_cosine

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class InpFormer(GraphMethod):
    """INP-Former (Luo et al., CVPR 2025, arXiv 2503.02424).

    The descriptor's training mask decides how sequences are hidden in training, so the plain method and the one with
    modality dropout share this class.
    """

    resampling: Float[Tensor, "out side"]
    kernel: Float[Tensor, "k k"]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        params = context.params
        self.network = build_network(
            context.weights, prototypes=int(params["prototypes"]), registers=bool(params["registers"])
        )
        self.image_size = int(params["image_size"])
        patch = self.network.encoder.config.patch
        if self.image_size % patch:
            raise UserError(
                f"Parameter image_size is {self.image_size}, not a multiple of the encoder's patch of {patch} "
                f"pixels; use {max(self.image_size // patch, 1) * patch}."
            )
        self.missing = "zero-norm" if context.missing == "native" else context.missing
        self.channels = str(params["channels"])
        self.gather_weight = float(params["gather_weight"])
        self.mining_power = float(params["mining_power"])
        self.top_fraction = float(params["top_fraction"])
        side = min(int(params["map_size"]), self.image_size)
        resampling = maps.resampling(self.image_size // patch, self.image_size, side).float()
        kernel = maps.smoothing_kernel(int(params["smoothing_size"]), float(params["smoothing_sigma"]))
        self.register_buffer("resampling", resampling, persistent=False)
        self.register_buffer("kernel", kernel, persistent=False)

    def pixels(self, images: Float[Tensor, "B S H W"], shown: Bool[Tensor, "B S"]) -> Float[Tensor, "B 3 h w"]:
        """Resize and normalise slices for the encoder."""
        return as_rgb(resize(images, self.image_size), shown, self.missing, layout=self.channels)

    def encode(self, batch: Batch) -> Encoded:
        """Encode the shown sequences."""
        return self.network.encode(self.pixels(batch.inputs, batch.shown))

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Return StableAdamW over everything except the encoder."""
        params = self.context.params
        lr = float(params["lr"])
        optimizer = StableAdamW(self.trained(), lr=lr, weight_decay=float(params["weight_decay"]))
        final = float(params["lr_final"]) / lr if lr else 1.0
        schedule = warm_cosine(int(params["warmup"]), final)
        return {"main": OptimizerSpec(optimizer, schedule, float(params["clip_norm"]) or None)}

    def trained(self) -> list[torch.nn.Parameter]:
        """Return the parameters that the optimiser trains."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def training_step(self, batch: Batch, step: int, total: int) -> Mapping[str, Losses]:
        """Return the mined reconstruction loss and the weighted gathering loss."""
        del step, total
        encoded = self.encode(batch)
        return {"main": self.losses(encoded, self.network.decode(encoded))}

    def losses(self, encoded: Encoded, decoded: Decoded) -> dict[str, Tensor]:
        """Return the two published losses, in at least single precision."""
        with torch.autocast(encoded.groups[0].device.type, enabled=False):
            reconstruction = losses.reconstruction(encoded.groups, decoded.groups, self.mining_power).mean()
            gathering = losses.gather(encoded.tokens, decoded.prototypes)
        return {"reconstruction": reconstruction, "gather": self.gather_weight * gathering}

    def score(self, batch: Batch) -> Scores:
        """Return the smoothed cosine distance and the mean of its highest fraction."""
        encoded = self.encode(batch)
        decoded = self.network.decode(encoded)
        with torch.autocast(batch.inputs.device.type, enabled=False):
            return self.to_scores(maps.distances(encoded.groups, decoded.groups))

    def to_scores(self, distance: Float[Tensor, "B N"]) -> Scores:
        """Return the smoothed map of the tokens' distances and the mean of its highest fraction."""
        picture = maps.smooth(maps.to_map(distance, self.resampling.to(distance)), self.kernel)
        return Scores(picture, maps.top_mean(picture, self.top_fraction))

    def load_published(self, states: Mapping[str, Any]) -> None:
        """Strictly load a state dict as the authors' training saves it, encoder included.

        Raises:
            UserError: If an entry is missing, unused, or of another shape.
        """
        state = from_published(single_state(states))
        load_strictly(self.network, state, "The published checkpoint", published_name)
