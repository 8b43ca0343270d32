"""What methods on the features of a pretrained network have in common: their input, and maps to scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from anyadbench.methods.contract import Batch, Context, Scores
from anyadbench.methods.graph import GraphMethod
from anyadbench.methods.inputs import as_rgb, resize
from anyadbench.methods.maps import to_scores
from anyadbench.methods.smoothing import gaussian_filter

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class FeatureMethod(GraphMethod):
    """A method whose input is three normalised channels and whose map is smoothed by a Gaussian.

    Reads the parameters ``image_size`` (pixels), ``smoothing_sigma`` (pixels of the input, 0 for none; may be absent)
    and ``image_score`` (``max`` or ``top``), which the descriptor has to list.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.image_size = int(context.params["image_size"])
        self.sigma = float(context.params.get("smoothing_sigma", 0.0))
        self.image_score = str(context.params["image_score"])
        self.missing = "zero-norm" if context.missing == "native" else context.missing

    def pixels(self, images: Float[Tensor, "B S H W"], shown: Bool[Tensor, "B S"]) -> Float[Tensor, "B 3 h w"]:
        """Resize slices and normalise them as the backbone's weights want it."""
        weights = self.context.weights
        return as_rgb(resize(images, self.image_size), shown, self.missing, weights.mean, weights.std)

    def inputs(self, batch: Batch) -> Float[Tensor, "B 3 h w"]:
        """Return the shown sequences of a batch as the backbone takes them."""
        return self.pixels(batch.inputs, batch.shown)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the method's input and map."""
        return self.image_size, self.image_size

    def scores(self, maps: Float[Tensor, "B h w"]) -> Scores:
        """Smooth maps and take the image score that ``image_score`` names: ``max``, or ``top`` (highest 1 %)."""
        return to_scores(gaussian_filter(maps, self.sigma), self.image_score)
