"""One call of a method: launched on its device, and completed on the host once the device has computed it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from anyadbench.engine.calls.grid import on_grid, smoothed
from anyadbench.engine.calls.pending import HostCopy, Pending, Scored
from anyadbench.engine.numerics import NotFinite, Policy
from anyadbench.metrics import top_fraction_mean
from anyadbench.metrics.core.image import TOP_FRACTION
from anyadbench.sequences import format_subset

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32
    from torch import Tensor

    from anyadbench.engine.compiling import Compiled
    from anyadbench.methods.contract import Batch
    from anyadbench.protocols.model import Protocol


def finite_slices(maps: Float32[Tensor, "B h w"]) -> Bool[Tensor, " B"]:
    """Return which maps hold neither NaN nor infinity, without waiting for the device."""
    return torch.isfinite(maps).flatten(1).all(1)


def highest(maps: Float32[Tensor, "B h w"], fraction: float) -> Float32[Tensor, "B 1 k"]:
    """Return the pixels of each map that ``top_fraction_mean`` averages, without waiting for the device.

    Its mean of all of them equals its mean of the map's highest ones to the bit.
    """
    flat = maps.flatten(1)
    return torch.topk(flat, max(1, int(fraction * flat.shape[1])), dim=1, sorted=False).values[:, None]


@dataclass
class Network:
    """A method's scoring under one protocol.

    Attributes:
        scoring: The method's function.
        protocol: The protocol.
        policy: Numeric policy.
        name: What makes the scores, for sentences about them.
    """

    scoring: Compiled
    protocol: Protocol
    policy: Policy
    name: str

    def launch(self, batch: Batch, names: list[str]) -> Pending:
        """Launch a call; on a GPU, neither this nor the copies to the host wait for it.

        What is launched returns maps on the scoring grid and image scores, and raises ``NotFinite``, naming the slice,
        if one of them is NaN or infinite.

        Raises:
            TypeError: If the method returns another shape or type than it should.
        """
        with torch.inference_mode(), self.policy.autocast():
            scores = self.scoring(batch)
        shape, rules = (batch.inputs.shape[2], batch.inputs.shape[3]), self.protocol.scoring
        maps = on_grid(scores, len(batch), shape, self.protocol, self.name)
        found = {"maps": maps}
        if scores.images is not None:
            found["images"] = scores.images.detach().double()
        if maps.is_cuda and not rules.smoothing_size:
            found["finite"] = finite_slices(maps)
            if rules.top_fraction or scores.images is None:
                found["highest"] = highest(maps, rules.top_fraction or TOP_FRACTION)
        return partial(self._complete, HostCopy(found), batch.shown, names)

    def _complete(self, copy: HostCopy, shown: Bool[Tensor, "B S"], names: list[str]) -> Scored:
        found, rules = copy.arrays(), self.protocol.scoring
        maps: Float32[np.ndarray, "B h w"] = smoothed(found["maps"], self.protocol)
        images = found.get("images")
        finite = found["finite"] if "finite" in found else np.isfinite(maps).all(axis=(1, 2))
        finite = finite & (True if images is None else np.isfinite(images))
        if not finite.all():
            where = int(np.flatnonzero(~finite)[0])
            own = zip(self.protocol.sequences, shown[where].tolist(), strict=True)
            subset = tuple(name for name, has in own if has)
            raise NotFinite(f"the scores of {names[where]}, shown {format_subset(subset)}, hold NaN or infinity")
        if rules.top_fraction or images is None:
            top = found.get("highest")
            images = top_fraction_mean(maps, rules.top_fraction or TOP_FRACTION) if top is None else _mean(top)
        return maps, images


def _mean(top: Float32[np.ndarray, "B 1 k"]) -> np.ndarray:
    return top_fraction_mean(top, 1.0)
