"""UniMMAD as a method: one to four sequences, each a picture of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from anyadbench.api import (
    Batch,
    Context,
    Losses,
    Method,
    OptimizerSpec,
    Scores,
    UserError,
    load_strictly,
    normalise,
    resize,
)
from anyadbench_rivals.unimmad.compression import SLOTS
from anyadbench_rivals.unimmad.experts import ExpertSizes
from anyadbench_rivals.unimmad.network import (
    BALANCE_EPOCHS,
    NetworkSize,
    Passed,
    UniMmadNetwork,
    anomaly_maps,
    balance_weight,
    blurred,
    image_scores,
    reconstruction_loss,
    stack_pictures,
)
from anyadbench_rivals.unimmad.schedule import cosine_by_epoch

if TYPE_CHECKING:
    from jaxtyping import Float


DISCARDED = (".model.layer4.", ".model.fc.")
"""Parts of names in the encoders: the released code discards the fourth stage, and timm's file has a classifier."""


class UniMmad(Method):
    """UniMMAD (Zhao et al., CVPR 2026, arXiv 2509.25934; yuanzhao-CVLAB/UniMMAD at cb269af), on one data set.

    Raises:
        UserError: If the protocol has more sequences than the network has slots.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        if len(context.sequences) > SLOTS:
            raise UserError(
                f"UniMMAD takes at most {SLOTS} sequences, but the protocol has {len(context.sequences)}; use a "
                "protocol with fewer."
            )
        params = context.params
        experts = ExpertSizes(*(int(params[key]) for key in ("expert_width", "experts", "leaders", "top")))
        blocks = str(params["decoder"])
        first, second, third = (int(digit) for digit in blocks.split("-"))
        size = NetworkSize(
            int(params["image_size"]), int(params["width"]), (first, second, third), int(params["base_width"]), experts
        )
        self.network = UniMmadNetwork(size, context.weights)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Return Adam over everything but the frozen encoder, its rate falling to 0 by published epochs."""
        optimizer = torch.optim.Adam(self.network.trained(), lr=float(self.context.params["lr"]))
        return {"main": OptimizerSpec(optimizer, cosine_by_epoch(BALANCE_EPOCHS))}

    def run(self, batch: Batch) -> Passed:
        """Pass the shown sequences of a batch through the network."""
        size, weights = self.network.size.image_size, self.context.weights
        grey = resize(batch.inputs, size)
        rgb = grey[:, :, None].expand(-1, -1, 3, -1, -1)
        images = normalise(rgb.flatten(0, 1), weights.mean, weights.std).view(rgb.shape)
        stack = stack_pictures(images, batch.shown, str(self.context.params["layout"]))
        passed: Passed = self.network(images[batch.shown], batch.shown.nonzero()[:, 0], stack)
        return passed

    def training_step(self, batch: Batch, step: int, total: int) -> Mapping[str, Losses]:
        """Return the weighted reconstruction loss and the fading load-balancing loss."""
        passed = self.run(batch)
        epoch = BALANCE_EPOCHS * step // max(1, total)
        return {
            "main": {
                "reconstruction": float(self.context.params["loss_weight"]) * reconstruction_loss(passed),
                "balance": balance_weight(epoch) * passed.balance,
            }
        }

    def score(self, batch: Batch) -> Scores:
        """Return the blurred map of each slice, and the mean of its highest thousandth."""
        side = self.network.size.image_size
        maps = blurred(self.scaled(anomaly_maps(self.run(batch), len(batch), (side, side)), batch))
        return Scores(maps, image_scores(maps))

    def scaled(self, maps: Float[Tensor, "B H W"], batch: Batch) -> Float[Tensor, "B H W"]:
        """Divide the root of a sum by that of its number of terms, if the parameter says so."""
        if self.context.params["pictures"] == "sum":
            return maps
        terms = len(self.network.experts) * batch.shown.sum(1)
        return maps / terms.to(maps.dtype).sqrt()[:, None, None]

    def load_published(self, states: Mapping[str, Any]) -> None:
        """Load the authors' modules from one file, strictly.

        The released training writes one file per module, without the frozen encoder, which is timm's. They have to be
        joined under the names that the modules have in the released code (see ``published_modules``).

        Raises:
            UserError: If a module or an entry is missing, unknown or of another shape.
        """
        modules = self.network.published_modules()
        kept = {name: value for name, value in states.items() if not any(part in name for part in DISCARDED)}
        for prefix, module in modules.items():
            state = {name.removeprefix(prefix): value for name, value in kept.items() if name.startswith(prefix)}
            if not state:
                raise UserError(
                    f"The published checkpoint has no entries {prefix}*; the authors keep each module in a file of its "
                    "own, so join them as described in docs/baselines.md."
                )
            load_strictly(module, state, "The published checkpoint", prefix.__add__)
        if extra := sorted(name for name in kept if not name.startswith(tuple(modules))):
            raise UserError(
                f"The published checkpoint has {extra[0]!r}, which belongs to no module of the network ({len(extra)} "
                "unused); join the authors' modules as described in docs/baselines.md."
            )
