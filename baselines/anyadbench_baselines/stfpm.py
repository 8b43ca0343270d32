"""STFPM: a student learns a teacher's features of normal images, level by level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from anyadbench.methods.contract import Batch, Context, Losses, OptimizerSpec, Scores
from anyadbench_baselines.parts.base import FeatureMethod
from anyadbench_baselines.parts.cosine import wide
from anyadbench_baselines.parts.pyramid import Pyramid, untrained
from anyadbench_baselines.parts.reverse import initialise

if TYPE_CHECKING:
    from jaxtyping import Float


class Stfpm(FeatureMethod):
    """Student-teacher feature pyramid matching (Wang et al., BMVC 2021, arXiv 2103.04257; gdwang08/STFPM).

    The published student also has ``layer4``, which it computes but never uses; here it ends at the last level that
    counts. The loss follows ``main.py``, which omits the paper's factor 1/2.
    """

    frozen = ("teacher.",)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.teacher = Pyramid(context.weights)
        self.student = Pyramid(untrained(context.weights), frozen=False)
        initialise(self.student)

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Return plain SGD over the student."""
        params = self.context.params
        optimizer = torch.optim.SGD(
            self.student.parameters(),
            lr=float(params["lr"]),
            momentum=float(params["momentum"]),
            weight_decay=float(params["weight_decay"]),
        )
        return {"main": OptimizerSpec(optimizer)}

    def training_step(self, batch: Batch, step: int, total: int) -> Mapping[str, Losses]:
        """Return the sum over the levels of the mean squared distance of unit features."""
        del step, total
        pixels = self.inputs(batch)
        distances = squared_distances(self.teacher(pixels), self.student(pixels))
        return {"main": {"matching": torch.stack([d.mean() for d in distances]).sum()}}

    def score(self, batch: Batch) -> Scores:
        """Return the product of the levels' distance maps, computed at a quarter of the input's resolution."""
        pixels = self.inputs(batch)
        product = map_product(squared_distances(self.teacher(pixels), self.student(pixels)), self.image_size // 4)
        maps = F.interpolate(product[:, None], self.size, mode="bilinear", align_corners=False)[:, 0]
        return self.scores(maps)


def squared_distances(teacher: Sequence[Tensor], student: Sequence[Tensor]) -> list[Float[Tensor, "B h w"]]:
    """Return, per level, the squared channel distance of features scaled to unit length at every position."""
    return [
        (F.normalize(wide(t), dim=1) - F.normalize(wide(s), dim=1)).square().sum(1)
        for t, s in zip(teacher, student, strict=True)
    ]


def map_product(distances: Sequence[Float[Tensor, "B h w"]], side: int) -> Float[Tensor, "B side side"]:
    """Return the product of maps, each first resized bilinearly to ``side``."""
    resized = [F.interpolate(d[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0] for d in distances]
    return torch.stack(resized).prod(0)
