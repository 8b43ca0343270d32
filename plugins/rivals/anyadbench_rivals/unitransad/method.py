"""UniTransAD as a method: any number of sequences in training and in testing, no label anywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from anyadbench.api import Batch, Context, Losses, Method, OptimizerSpec, Scores, UserError, load_strictly, resize
from anyadbench_rivals.unitransad import training
from anyadbench_rivals.unitransad.augmentation import augment
from anyadbench_rivals.unitransad.cycle import Source, encode_source, run_cycle
from anyadbench_rivals.unitransad.edges import edge_maps
from anyadbench_rivals.unitransad.fusion import fuse_sources, fuse_targets
from anyadbench_rivals.unitransad.network import REMEMBERED, NetworkSize, UniTransNetwork
from anyadbench_rivals.unitransad.postprocessing import median
from anyadbench_rivals.unitransad.schedule import warm_flat_cosine

if TYPE_CHECKING:
    from jaxtyping import Float

_OLD_NAME = re.compile(r"brats_(\w+)_ema_(mean|std)")
_TABLES = ("pos_embed", "decoder_pos_embed")


class UniTransAd(Method):
    """UniTransAD (Zhang et al., IEEE TMI 2026; zhibaishouheilab/UniTransAD at 35f3d93).

    Each shown sequence is rendered in the remembered style of every other sequence and back. How the maps of sources
    and targets become one is a rule of this benchmark that needs no lesion.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        params = context.params
        self.network = UniTransNetwork(NetworkSize(*(int(params[field.name]) for field in fields(NetworkSize))))
        self.register_buffer("known", torch.zeros(len(REMEMBERED), dtype=torch.bool))

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Return AdamW over every parameter, with the published schedule stretched over the training."""
        params = self.context.params
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=float(params["lr"]), betas=(0.9, 0.95), weight_decay=float(params["decay"])
        )
        return {"main": OptimizerSpec(optimizer, warm_flat_cosine())}

    def pictures(self, batch: Batch) -> tuple[Float[Tensor, "B S h w"], Float[Tensor, "B S h w"]]:
        """Return resized slices and the resized edges of the slices as they were."""
        size = self.network.size.image_size
        edges = edge_maps(batch.inputs.flatten(0, 1).float()).view(batch.inputs.shape)
        return resize(batch.inputs, size), resize(edges, size)

    def training_step(self, batch: Batch, step: int, total: int) -> Mapping[str, Losses]:
        """Return the weighted losses; the memory moves before the gradients are computed."""
        del step, total
        params = self.context.params
        images, edges = self.pictures(batch)
        if params["augment"]:
            images, edges = augment(images, edges)
        encoded = training.encode_batch(self.network, images, batch.shown)
        sources = training.draw_sources(batch.shown)
        rendered = training.translations(self.network, encoded, edges, sources)
        self.remember(encoded)
        translation = training.translation_losses(rendered, images, batch.shown).mean()
        losses = {"translation": float(params["translation_weight"]) * translation}
        pairs = training.contrastive_pairs(encoded, self.context.sequences, float(params["temperature"]))
        if pairs:
            losses["contrastive"] = float(params["contrastive_weight"]) * torch.stack(pairs).mean()
        return {"main": losses}

    def remember(self, encoded: training.Encoded) -> None:
        """Move the memory of every sequence in a batch, and note that it knows it."""
        styles = encoded.styles(self.context.sequences)
        self.network.remember(styles, float(self.context.params["momentum"]))
        for index, name in enumerate(REMEMBERED):
            if name in styles:
                self.get_buffer("known")[index] = True

    def targets(self, source: str) -> list[str]:
        """Return the sequences in whose style a source is rendered: those that the memory has learnt, without it."""
        known = self.get_buffer("known").tolist()
        return [name for name, learnt in zip(REMEMBERED, known, strict=True) if learnt and name != source]

    def source_maps(self, source: Source, name: str) -> dict[str, Float[Tensor, "B H W"]]:
        """Return the map of one source for each target, as published.

        A source without a target, because the memory knows no other sequence, is rendered in its own style.
        """
        scaling = str(self.context.params["similarity"])
        targets = self.targets(name)
        if not targets:
            return {name: run_cycle(self.network, source, source.style, scaling).maps}
        batch = len(source.images)
        return {
            target: run_cycle(self.network, source, self.network.remembered(target, batch), scaling).maps
            for target in targets
        }

    def score(self, batch: Batch) -> Scores:
        """Return the maps of every shown sequence with tissue, fused over targets, then over sources."""
        params, names = self.context.params, self.context.sequences
        images, edges = self.pictures(batch)
        maps = torch.zeros_like(images)
        usable = torch.zeros_like(batch.shown)
        for index, name in enumerate(names):
            rows = batch.shown[:, index]
            if not bool(rows.any()):
                continue
            source = encode_source(self.network, images[rows, index], edges[rows, index])
            found = self.source_maps(source, name)
            maps[rows, index] = fuse_targets(list(found.values()), str(params["targets"])).to(maps.dtype)
            usable[rows, index] = source.tissue.any(1)
        fused = fuse_sources(maps, usable, str(params["sources"]), names)
        return Scores(median(fused, int(params["median_size"])))

    def load_published(self, states: Mapping[str, Any]) -> None:
        """Load the authors' state dict, strictly: an absent memory would leave styles of zeros.

        Position tables follow from the sizes: those of the file must be the same. The older names of the memory are
        accepted.

        Raises:
            UserError: If an entry is missing, unknown or of another shape, or the tables are those of another input.
        """
        renamed = {_OLD_NAME.sub(r"dspm_\1_\2", name): value for name, value in states.items()}
        for name in _TABLES:
            own, found = self.network.get_buffer(name), renamed.get(name, self.network.get_buffer(name))
            if own.shape != found.shape or not torch.allclose(own, found.float(), atol=1e-5):
                raise UserError(
                    f"The published checkpoint has positions in {name!r} of another input than image_size "
                    f"{self.network.size.image_size}; run with --budget paper, or set image_size."
                )
        state = {name: value for name, value in renamed.items() if name not in _TABLES}
        load_strictly(self.network, state, "The published checkpoint")
        learnt = [bool(self.network.remembered(name, 1).mean.any()) for name in REMEMBERED]
        self.get_buffer("known").copy_(torch.tensor(learnt))
