"""Inference of UniTransAD: one sequence in another one's remembered style, and back in its own.

``run_inference_for_dataset`` of ``tune.py``. One map for each source and target; nothing is fused here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from anyadbench.api import at_least_single, full_precision
from anyadbench_rivals.unitransad.edges import tissue
from anyadbench_rivals.unitransad.network import Style, UniTransNetwork

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

LEAST_RANGE = 1e-8


@dataclass(frozen=True)
class Cycle:
    """What one source and one target give.

    Attributes:
        virtual: The source in the target's style.
        reconstruction: The virtual picture back in the source's own style.
        similarity: Agreement of the contents of source and virtual picture per patch, 0..1, 0 on background.
        error: Absolute difference of reconstruction and source.
        maps: ``error`` weighted by one minus the enlarged similarity; between 0 and ``error``.
    """

    virtual: Float[Tensor, "B 1 H W"]
    reconstruction: Float[Tensor, "B 1 H W"]
    similarity: Float[Tensor, "B n n"]
    error: Float[Tensor, "B H W"]
    maps: Float[Tensor, "B H W"]


@dataclass(frozen=True)
class Source:
    """A sequence of every slice, encoded.

    Attributes:
        images: The pictures, 0..1.
        edges: Their edge maps.
        content: Their content tokens.
        style: Their own styles.
        tissue: Which patches have tissue.
    """

    images: Float[Tensor, "B 1 H W"]
    edges: Float[Tensor, "B 1 H W"]
    content: Float[Tensor, "B N+1 D"]
    style: Style
    tissue: Bool[Tensor, "B N"]


def encode_source(network: UniTransNetwork, images: Float[Tensor, "B H W"], edges: Float[Tensor, "B H W"]) -> Source:
    """Encode the pictures of one sequence."""
    content, style = network.encode(images[:, None])
    return Source(images[:, None], edges[:, None], content, style, tissue(images, network.size.patch))


def run_cycle(network: UniTransNetwork, source: Source, target: Style, scaling: str = "slice") -> Cycle:
    """Render a source in a target's style and back, and compare.

    Args:
        network: In eval mode.
        source: What to render.
        target: Style to render it in; its own if there is no other.
        scaling: How similarity is scaled, see ``agreement``; ``"off"`` makes the map the error alone.
    """
    virtual = network.generate(source.content, source.edges, target)
    content = network.content(virtual)
    reconstruction = network.generate(content, source.edges, source.style)
    error = (reconstruction - source.images).abs()[:, 0]
    side = network.size.side
    if scaling == "off":
        similarity = torch.zeros(len(error), side, side, dtype=error.dtype, device=error.device)
    else:
        similarity = agreement(source.content[:, 1:], content[:, 1:], source.tissue, scaling).view(-1, side, side)
    large = F.interpolate(similarity[:, None], error.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    return Cycle(virtual, reconstruction, similarity, error, error * (1 - large))


@full_precision
def agreement(
    before: Float[Tensor, "B N D"], after: Float[Tensor, "B N D"], inside: Bool[Tensor, "B N"], scaling: str = "slice"
) -> Float[Tensor, "B N"]:
    """Return how well the content of every patch came back, between 0 and 1; 0 on background.

    Args:
        before: Patch tokens of the source.
        after: Patch tokens of the virtual picture.
        inside: Patches with tissue in the source.
        scaling: ``slice``, as published: the similarities of all pairs of tissue patches are scaled to 0..1 per slice,
            then the matching ones again over their positive values. So each slice, normal or not, has a patch of 0 and
            one of 1, and identical contents agree by 0. ``absolute``: the cosine itself, negative ones as 0, the same
            scale for all slices.
    """
    before, after = (F.normalize(at_least_single(x), dim=2) for x in (before, after))
    if scaling == "absolute":
        return torch.where(inside, (before * after).sum(2).clamp(0, 1), 0.0)
    both = inside[:, :, None] & inside[:, None]
    scaled = _scaled((before @ after.transpose(1, 2)).flatten(1), both.flatten(1))
    matching = scaled.view(both.shape).diagonal(dim1=1, dim2=2)
    return _scaled(matching, matching > 0)


def _scaled(values: Float[Tensor, "B M"], inside: Bool[Tensor, "B M"]) -> Float[Tensor, "B M"]:
    """Scale the chosen values of every slice to 0..1; all others become 0."""
    low = torch.where(inside, values, torch.inf).amin(1, keepdim=True)
    high = torch.where(inside, values, -torch.inf).amax(1, keepdim=True)
    return torch.where(inside, (values - low) / (high - low).clamp(min=LEAST_RANGE), 0.0)
