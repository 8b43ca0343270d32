"""The trivial method: the distance of each pixel from the normal mean at its position."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anyadbench.methods.contract import Batch, Context, Normals, Scores
from anyadbench.methods.graph import GraphMethod
from anyadbench.methods.inputs import resize
from anyadbench_baselines.inp.maps import smooth, smoothing_kernel

if TYPE_CHECKING:
    from jaxtyping import Float


class PixelStats(GraphMethod):
    """Mean and standard deviation of training normals per pixel and sequence; no weights and no gradient.

    A control: any method worth training must do better.
    """

    mean: Float[Tensor, "S h w"]
    std: Float[Tensor, "S h w"]
    kernel: Float[Tensor, "k k"]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        params = context.params
        self.size = int(params["image_size"])
        self.floor = float(params["floor"])
        shape = (len(context.sequences), self.size, self.size)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("std", torch.zeros(shape))
        kernel = smoothing_kernel(int(params["smoothing_size"]), float(params["smoothing_sigma"]))
        self.register_buffer("kernel", kernel, persistent=False)

    @torch.no_grad()
    def prepare(self, normals: Normals) -> None:
        """Sum intensities and squares over the scans that have each sequence."""
        wide = torch.float32 if self.mean.device.type == "mps" else torch.float64
        total = torch.zeros_like(self.mean, dtype=wide)
        squares, count = torch.zeros_like(total), torch.zeros_like(total[:, :1, :1])
        for batch in normals.batches(int(self.context.params["pass_batch"]), description="pixel statistics"):
            images = resize(batch.inputs, self.size).to(wide)
            shown = batch.shown[:, :, None, None].to(wide)
            total += (images * shown).sum(0)
            squares += (images.square() * shown).sum(0)
            count += shown.sum(0)
        count = count.clamp_min(1)  # a sequence that no training scan has keeps mean 0 and the floor
        mean = total / count
        self.mean.copy_(mean)
        self.std.copy_((squares / count - mean.square()).clamp_min(0).sqrt())

    def score(self, batch: Batch) -> Scores:
        """Return the mean deviation over the shown sequences, smoothed."""
        images = resize(batch.inputs.to(self.mean.dtype), self.size)
        deviation = (images - self.mean).abs() / (self.std + self.floor)
        shown = batch.shown[:, :, None, None].to(deviation.dtype)
        maps = (deviation * shown).sum(1) / shown.sum(1)
        return Scores(smooth(maps, self.kernel))
