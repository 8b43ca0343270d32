"""PatchCore for any set of sequences: one memory of normal patches for each set that a slice may show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from anyadbench.errors import UserError
from anyadbench.methods.contract import Batch, Context, Normals, Scores
from anyadbench.methods.graph import in_graph
from anyadbench.sequences import SHORT
from anyadbench_baselines.parts.base import FeatureMethod
from anyadbench_baselines.parts.precision import full_precision
from anyadbench_baselines.parts.pyramid import Pyramid
from anyadbench_baselines.parts.smoothing import gaussian

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

STARTS, PROJECTED = 10, 128
"""Number of random points for the coreset's first distances, and width of its random projection."""


class AnyPatchCore(FeatureMethod):
    """PatchCore (Roth et al., CVPR 2022; amazon-science/patchcore-inspection) with a memory per set of sequences.

    The memory of a set contains patches of the training normals that have the whole set, shown as exactly that set, so
    a patch is compared with normal patches of the same kind of input. Nothing is trained by gradient.
    """

    frozen = ("encoder.",)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.encoder = Pyramid(context.weights)
        self.width = int(context.params["embedding"])
        for members in self.sets():
            self.register_buffer(_name(members), torch.zeros(0, self.width))

    def sets(self) -> Iterator[tuple[int, ...]]:
        """Yield every non-empty set of sequences by index."""
        count = len(self.context.sequences)
        for size in range(1, count + 1):
            yield from combinations(range(count), size)

    def patches(self, batch: Batch) -> Float[Tensor, "B P D"]:
        """Return features of 3x3 neighbourhoods on the second level's grid, pooled to one width."""
        _, second, third = self.encoder(self.inputs(batch))
        side = second.shape[-2:]
        levels = [_neighbourhoods(second), _neighbourhoods(third)]
        grid = third.shape[-2:]
        coarse = levels[1].transpose(1, 2).reshape(second.shape[0], -1, *grid)
        levels[1] = F.interpolate(coarse, side, mode="bilinear", align_corners=False).flatten(2).transpose(1, 2)
        pooled = [F.adaptive_avg_pool1d(level, self.width) for level in levels]
        return F.adaptive_avg_pool1d(torch.cat(pooled, dim=2), self.width)

    def prepare(self, normals: Normals) -> None:
        """Fill the memory of every set in one pass over the training normals per set."""
        params = self.context.params
        each = max(1, int(params["candidates"]) // max(len(normals), 1))
        for members in self.sets():
            found: list[Tensor] = []
            label = _label([self.context.sequences[i] for i in members])
            for batch in normals.batches(int(params["pass_batch"]), description=f"memory of {label}"):
                part = _showing(batch, members)
                if len(part):
                    found += [x[torch.randperm(len(x))[:each].to(x.device)] for x in self.patches(part).float()]
            if found:
                setattr(self, _name(members), coreset(torch.cat(found), float(params["coreset"])))

    def score(self, batch: Batch) -> Scores:
        """Return the squared distance to the nearest patch in the memory for each slice's shown sequences."""
        patches = self.patches(batch).float()
        distances = patches.new_zeros(patches.shape[:2])
        for members in self.sets():
            mine = (batch.shown == _row(members, batch.shown)).all(1)
            if not in_graph() and not mine.any():
                continue
            memory: Tensor = getattr(self, _name(members))
            if not len(memory):
                label = _label([self.context.sequences[i] for i in members])
                raise UserError(
                    f"No training scan has all of {label}, so anypatchcore has no memory for it; leave this subset out "
                    "of the protocol's subsets."
                )
            found = nearest(patches[mine].flatten(0, 1), memory).view(-1, patches.shape[1])
            distances.index_put_((mine,), found)
        side = self.image_size // 8
        maps = F.interpolate(distances.view(-1, 1, side, side), self.size, mode="bilinear", align_corners=False)[:, 0]
        maps = gaussian(maps, self.sigma)
        return Scores(maps, distances.amax(1) if self.image_score == "max" else None)

    def load_saved_state(self, state: Mapping[str, Tensor]) -> None:
        """Load memories of any length, then the rest as usual."""
        for members in self.sets():
            name = _name(members)
            if name in state and state[name].ndim == 2 and state[name].shape[1] == self.width:
                setattr(self, name, torch.zeros_like(state[name], device=getattr(self, name).device))
        super().load_saved_state(state)


def _name(members: tuple[int, ...]) -> str:
    return "memory_" + "_".join(map(str, members))


def _label(names: list[str]) -> str:
    return "+".join(SHORT[name] for name in names)


def _row(members: tuple[int, ...], shown: Bool[Tensor, "B S"]) -> Bool[Tensor, " S"]:
    """Return the value of ``shown`` for a set of sequences."""
    return torch.tensor([index in members for index in range(shown.shape[1])], device=shown.device)


def _showing(batch: Batch, members: tuple[int, ...]) -> Batch:
    """Return the slices that have all members, shown as exactly these."""
    wanted = _row(members, batch.shown)
    rows = (batch.shown | ~wanted).all(1)
    shown = wanted.expand(int(rows.sum()), -1)
    return Batch(batch.inputs[rows] * shown[:, :, None, None].to(batch.inputs.dtype), shown)


def _neighbourhoods(level: Float[Tensor, "B C h w"]) -> Float[Tensor, "B P E"]:
    """Return the 3x3 neighbourhood of every position, with zeros outside."""
    return F.unfold(level, 3, padding=1).transpose(1, 2)


@full_precision
def nearest(points: Float[Tensor, "N D"], memory: Float[Tensor, "M D"], chunk: int = 4096) -> Float[Tensor, " N"]:
    """Return the squared Euclidean distance to the nearest entry, as FAISS's flat L2 index does."""
    lengths = memory.square().sum(1)
    # A traced graph would fix the number of chunks.
    chunks = (points,) if in_graph() else torch.split(points, chunk)
    parts = [(x.square().sum(1) + (lengths - 2 * x @ memory.T).amin(1)).clamp_min(0) for x in chunks]
    return torch.cat(parts)


@full_precision
def coreset(points: Float[Tensor, "N D"], fraction: float) -> Float[Tensor, "M D"]:
    """Return a subset of the points that covers them: each next point is the farthest from those chosen.

    ``ApproximateGreedyCoresetSampler`` of the published code: distances after a random projection, at first to the mean
    over a few random points. Draws come from torch's generator.
    """
    wanted = max(1, int(len(points) * fraction))
    projection = torch.nn.Linear(points.shape[1], PROJECTED, bias=False).weight.detach().to(points)
    reduced = points @ projection.T if points.shape[1] != PROJECTED else points
    lengths = reduced.square().sum(1)
    starts = torch.randperm(len(points))[:STARTS].to(points.device)

    def to_point(index: Tensor) -> Float[Tensor, " N"]:
        return (lengths + lengths[index] - 2 * reduced @ reduced[index]).clamp_min(0).sqrt()

    distances = torch.stack([to_point(index) for index in starts]).mean(0)
    taken = []
    for _ in range(wanted):
        index = distances.argmax()
        taken.append(index)
        distances = torch.minimum(distances, to_point(index))
    return points[torch.stack(taken)].clone()
