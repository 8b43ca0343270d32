"""A method's scoring as a graph of tensors, for export."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anyadbench.methods.contract import Batch, Method

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

TOP_FRACTION = 0.01
"""Fraction of a map's pixels, the highest, whose mean is the image score if the method returns none, as in scoring."""


class ScoreGraph(nn.Module):
    """Takes slices and the availability of their sequences; returns maps on the slices' own grid and image scores.

    Unavailable sequences are zeroed inside the graph, so that their content cannot reach a score.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(
        self, slices: Float[Tensor, "B S H W"], availability: Bool[Tensor, "B S"]
    ) -> tuple[Float[Tensor, "B H W"], Float[Tensor, " B"]]:
        """Score slices in the protocol's intensity scale."""
        shown = torch.where(availability[:, :, None, None], slices, 0.0)
        scores = self.method.score(Batch(shown, availability))
        maps = scores.maps
        height, width = int(slices.shape[2]), int(slices.shape[3])
        if (int(maps.shape[1]), int(maps.shape[2])) != (height, width):
            maps = F.interpolate(maps[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]
        if scores.images is not None:
            return maps, scores.images
        count = max(1, int(TOP_FRACTION * height * width))
        return maps, maps.flatten(1).topk(count, dim=1).values.mean(1)


class GraphMethod(Method):
    """A method whose ``score`` uses tensor operations alone, so that it can be exported."""

    def exportable(self) -> nn.Module | None:
        """Return the scoring as a graph."""
        return ScoreGraph(self)


def in_graph() -> bool:
    """Return whether a graph is being recorded, in which no branch may depend on the example's values."""
    return torch.compiler.is_exporting() or bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]
