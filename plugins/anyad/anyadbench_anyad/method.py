"""AnyAD: INP-Former on incomplete input, with an alignment towards the full input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from anyadbench.api import Batch, Context, Losses, Normals, Scores
from anyadbench_anyad.alignment import ALIGNMENTS, GROUPS, Pair
from anyadbench_anyad.memory import TokenMemory, inside
from anyadbench_baselines.inp import maps
from anyadbench_baselines.inp.network import Encoded
from anyadbench_baselines.inp.statistics import ChannelStatistics
from anyadbench_baselines.inpformer import InpFormer

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class AnyAd(InpFormer):
    """AnyAD (Wu et al., arXiv 2512.21264); parameter ``align`` selects the form of alignment."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        form = ALIGNMENTS[str(context.params["align"])]
        self.alignment = form(self.network.encoder.config.width, len(context.sequences))
        self.align_weight = float(context.params["align_weight"])
        size = int(context.params.get("memory", 0))
        self.memory = TokenMemory(size, GROUPS, self.network.encoder.config.width) if size else None

    def encode(self, batch: Batch) -> Encoded:
        """Encode the shown sequences and adapt the result."""
        return self.alignment.adapt(super().encode(batch), batch.shown)

    def training_pixels(self, batch: Batch) -> Float[Tensor, "B 3 h w"]:
        """Return the encoder's input for a training batch; the released method overrides this."""
        return self.pixels(batch.inputs, batch.shown)

    def encode_training(self, batch: Batch) -> tuple[Encoded, Encoded | None]:
        """Encode a training batch as shown and, if the alignment needs it, its full input, in one call.

        One call of twice the batch starts half as many kernels as two calls, and the encoder treats every slice alone.
        """
        pixels = self.training_pixels(batch)
        if not self.alignment.needs_full:
            return self.alignment.adapt(self.network.encode(pixels), batch.shown), None
        assert batch.targets is not None and batch.present is not None
        both = self.network.encode(torch.cat([pixels, self.pixels(batch.targets, batch.present)])).groups
        shown, full = (Encoded(list(part)) for part in zip(*(group.chunk(2) for group in both), strict=True))
        return self.alignment.adapt(shown, batch.shown), full

    def encode_full(self, batch: Batch) -> Encoded:
        """Encode every sequence that the scans of a training batch have."""
        assert batch.targets is not None and batch.present is not None
        return self.network.encode(self.pixels(batch.targets, batch.present))

    @torch.no_grad()
    def prepare(self, normals: Normals) -> None:
        """Collect what the alignment and the memory need of the training normals."""
        if self.memory is not None:
            self.memory.fill(normals, self.encode_frozen, int(self.context.params["batch_size"]))
        if self.alignment.needs_target:
            self._collect_statistics(normals)

    def _collect_statistics(self, normals: Normals) -> None:
        """Collect channel statistics of both encoder groups over the full input of the training normals."""
        groups = [ChannelStatistics() for _ in self.alignment.target_mean]
        size = int(self.context.params["batch_size"])
        for batch in normals.batches(size, description="full-input statistics"):
            for statistics, features in zip(groups, self.encode_full(batch).groups, strict=True):
                statistics.update(features)
        for index, statistics in enumerate(groups):
            mean, std = statistics.result()
            self.alignment.target_mean[index].copy_(mean)
            self.alignment.target_std[index].copy_(std)

    def training_step(self, batch: Batch, step: int, total: int) -> Mapping[str, Losses]:
        """Return the losses of INP-Former and the weighted alignment loss."""
        del step, total
        encoded, full = self.encode_training(batch)
        fixed = encoded.detach()
        decoded = self.network.decode(fixed)
        named = self.losses(fixed, decoded)
        with torch.autocast(batch.inputs.device.type, enabled=False):
            align = self.alignment.loss(Pair(encoded, decoded, full, self.network, self.mining_power))
        if align is not None:
            named["align"] = self.align_weight * align
        return {"main": named}

    def encode_frozen(self, batch: Batch) -> list[Float[Tensor, "B N D"]]:
        """Return the frozen encoder's groups for the shown sequences, which training does not change."""
        return self.network.encode(self.pixels(batch.inputs, batch.shown)).groups

    def score(self, batch: Batch) -> Scores:
        """Return the published scores; with a memory, those of errors weighed with it, inside the brain."""
        if self.memory is None:
            return super().score(batch)
        frozen = self.encode_frozen(batch)
        encoded = self.alignment.adapt(Encoded(frozen), batch.shown)
        decoded = self.network.decode(encoded)
        with torch.autocast(batch.inputs.device.type, enabled=False):
            errors = maps.distances(encoded.groups, decoded.groups)
            picture = self.to_scores(errors * self.memory.distance(frozen).to(errors)).maps
            picture = picture * inside(batch, picture.shape[-1]).to(picture)
        return Scores(picture, maps.top_mean(picture, self.top_fraction))

    def load_published(self, states: Mapping[str, Any]) -> None:
        """Load the authors' whole network, which is scored as published: it has no memory of these normals."""
        super().load_published(states)
        self.memory = None


class AnyAdReleased(AnyAd):
    """What the released code does: full input, with image row i blank if sequence i is hidden.

    Its masking indexes the second axis of a single picture (channels, rows, columns), so it blanks rows.
    """

    def training_pixels(self, batch: Batch) -> Float[Tensor, "B 3 h w"]:
        """Return the full input with the rows of the hidden sequences blank."""
        assert batch.targets is not None and batch.present is not None
        return blank_rows(self.pixels(batch.targets, batch.present), batch.present & ~batch.shown)


def blank_rows(pixels: Float[Tensor, "B 3 H W"], hidden: Bool[Tensor, "B S"]) -> Float[Tensor, "B 3 H W"]:
    """Set row i of every channel to 0.0 where sequence i is hidden."""
    rows = pixels.new_ones(pixels.shape[0], 1, pixels.shape[2], 1)
    rows[:, 0, : hidden.shape[1], 0] = (~hidden).to(pixels.dtype)
    return pixels * rows
