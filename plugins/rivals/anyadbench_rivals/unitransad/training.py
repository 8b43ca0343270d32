"""The training loss of UniTransAD: contents that agree across sequences, and pictures that translate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anyadbench_rivals.unitransad.contrast import contrastive_loss
from anyadbench_rivals.unitransad.edges import tissue
from anyadbench_rivals.unitransad.network import REMEMBERED, Style, UniTransNetwork

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Encoded:
    """Contents, styles and tissue of a batch, one row per slice and available sequence.

    Attributes:
        content: Content tokens, the class token first.
        style: Styles.
        tissue: Patches with tissue.
        rows: Row of each slice and sequence; -1 where the slice lacks the sequence.
    """

    content: Float[Tensor, "R N+1 D"]
    style: Style
    tissue: Bool[Tensor, "R N"]
    rows: Int[Tensor, "B S"]

    def styles(self, names: Sequence[str]) -> dict[str, Style]:
        """Return the styles of every sequence that some slice has, by name."""
        found = {}
        for index, name in enumerate(names):
            rows = self.rows[:, index]
            if bool((rows >= 0).any()):
                rows = rows[rows >= 0]
                found[name] = Style(self.style.mean[rows], self.style.std[rows])
        return found


def encode_batch(network: UniTransNetwork, images: Float[Tensor, "B S H W"], present: Bool[Tensor, "B S"]) -> Encoded:
    """Encode every available sequence of every slice in one pass."""
    rows = torch.full(present.shape, -1, dtype=torch.long, device=present.device)
    rows[present] = torch.arange(int(present.sum()), device=present.device)
    chosen = images[present]
    content, style = network.encode(chosen[:, None])
    return Encoded(content, style, tissue(chosen, network.size.patch), rows)


def contrastive_pairs(encoded: Encoded, names: Sequence[str], temperature: float = 0.05) -> list[Float[Tensor, ""]]:
    """Return the contrastive loss of each pair of sequences whose tissue overlaps in some slice that has both.

    A pair and its reverse have different losses. The first of a pair is the earlier one in the published order (t1, t2,
    t1ce, flair, then others), whatever the order of the batch.

    Args:
        encoded: The contents, with one column of rows per sequence.
        names: Names of these sequences.
        temperature: Divisor of the similarities.
    """
    losses = []
    published = sorted(range(len(names)), key=lambda i: (*REMEMBERED, names[i]).index(names[i]))
    for one, other in combinations(published, 2):
        both = (encoded.rows[:, [one, other]] >= 0).all(1)
        first, second = encoded.rows[both, one], encoded.rows[both, other]
        if not bool((encoded.tissue[first] & encoded.tissue[second]).any()):
            continue  # the published formula divides by 0 here
        contents = encoded.content[first][:, 1:], encoded.content[second][:, 1:]
        losses.append(contrastive_loss(*contents, encoded.tissue[first], encoded.tissue[second], temperature))
    return losses


def draw_sources(present: Bool[Tensor, "B S"]) -> Int[Tensor, "B S"]:
    """Draw for each target the sequence whose content it is rendered from, the target itself included.

    One random order per target and batch: every slice takes the first sequence that it has. Complete slices so share
    one uniformly drawn source, as published.
    """
    sequences = present.shape[1]
    orders = torch.stack([torch.randperm(sequences) for _ in range(sequences)]).to(present.device)
    available = present[:, orders]
    return orders.expand(len(present), -1, -1).gather(2, available.long().argmax(2, keepdim=True))[..., 0]


def translations(
    network: UniTransNetwork, encoded: Encoded, edges: Float[Tensor, "B S H W"], sources: Int[Tensor, "B S"]
) -> Mapping[int, Float[Tensor, "b 1 H W"]]:
    """Render each target that some slice has, from the source's content, its own edges and its own style."""
    found = {}
    for target in range(encoded.rows.shape[1]):
        has = encoded.rows[:, target] >= 0
        if not bool(has.any()):
            continue
        content = encoded.content[encoded.rows.gather(1, sources)[has, target]]
        own = encoded.rows[has, target]
        style = Style(encoded.style.mean[own], encoded.style.std[own])
        found[target] = network.generate(content, edges[has, target][:, None], style)
    return found


def translation_losses(
    rendered: Mapping[int, Float[Tensor, "b 1 H W"]], images: Float[Tensor, "B S H W"], present: Bool[Tensor, "B S"]
) -> Float[Tensor, " T"]:
    """Return the mean absolute error of each rendered target, background included."""
    errors = [(picture[:, 0] - images[present[:, i], i]).abs().mean() for i, picture in rendered.items()]
    return torch.stack(errors)
