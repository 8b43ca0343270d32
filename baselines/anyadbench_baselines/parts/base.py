"""Common parts of methods on pretrained features: input, maps to scores, published states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from anyadbench.errors import UserError
from anyadbench.methods.contract import Batch, Context, Scores
from anyadbench.methods.graph import GraphMethod
from anyadbench.methods.inputs import as_rgb, resize
from anyadbench_baselines.parts.smoothing import gaussian

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class FeatureMethod(GraphMethod):
    """A method whose input is three normalised channels and whose map is smoothed by a Gaussian.

    Reads the parameters ``image_size``, ``smoothing_sigma`` and ``image_score``.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.image_size = int(context.params["image_size"])
        self.sigma = float(context.params.get("smoothing_sigma", 0.0))
        self.image_score = str(context.params["image_score"])
        self.missing = "zero-norm" if context.missing == "native" else context.missing

    def pixels(self, images: Float[Tensor, "B S H W"], shown: Bool[Tensor, "B S"]) -> Float[Tensor, "B 3 h w"]:
        """Resize slices and normalise them for the backbone's weights."""
        weights = self.context.weights
        return as_rgb(resize(images, self.image_size), shown, self.missing, weights.mean, weights.std)

    def inputs(self, batch: Batch) -> Float[Tensor, "B 3 h w"]:
        """Return the shown sequences of a batch in the form of the backbone's input."""
        return self.pixels(batch.inputs, batch.shown)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the method's input and map."""
        return self.image_size, self.image_size

    def scores(self, maps: Float[Tensor, "B h w"]) -> Scores:
        """Smooth maps and compute the image score named by ``image_score``: ``max``, or ``top`` (highest 1 %)."""
        return to_scores(gaussian(maps, self.sigma), self.image_score)


def to_scores(maps: Float[Tensor, "B h w"], image_score: str) -> Scores:
    """Return maps with the image score ``max``, or ``top`` for the mean of the highest 1 % on the scoring grid."""
    return Scores(maps, maps.flatten(1).amax(1) if image_score == "max" else None)


def load_module(module: nn.Module, state: Mapping[str, Any], name: str) -> None:
    """Load one module of a published checkpoint strictly.

    Raises:
        UserError: If an entry is missing, unused, or of another shape.
    """
    own = module.state_dict()
    missing, extra = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    if missing or extra:
        what = f"lacks {missing[0]!r}" if missing else f"has {extra[0]!r}, which this network does not have"
        raise UserError(f"The published checkpoint's {name!r} {what}; give one trained with this backbone.")
    for key, value in state.items():
        if not isinstance(value, Tensor) or value.shape != own[key].shape:
            shape = tuple(getattr(value, "shape", ()))
            raise UserError(
                f"The published checkpoint's {name!r} has {key!r} of shape {shape}, but this network has "
                f"{tuple(own[key].shape)}; give one trained with this backbone."
            )
    with torch.no_grad():
        module.load_state_dict(dict(state))
