"""DINO-DPMM: the distance of a patch to the components of a mixture of normal patches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from anyadbench.api import (
    Batch,
    Context,
    GraphMethod,
    Normals,
    Scores,
    UserError,
    backbone,
    full_precision,
    in_graph,
    patch_tokens,
    shown_images,
    to_scores,
)

if TYPE_CHECKING:
    from jaxtyping import Float, Int

LIGHTEST = 1e-6
"""Largest weight of a component that scoring ignores (``src/evaluate.py``)."""


class DirichletMixture:
    """A truncated Dirichlet-process mixture of Gaussians with diagonal covariance, fitted batch by batch.

    After ``src/DirichletProcessMixture/dpmm.py`` of NicoSchulthess/anomalydino-dpmm: expectation, then exponential
    moving averages of the sufficient statistics, then closed forms of the stick-breaking ratios and the concentration.
    The ratios are undefined for a concentration below 1, so it is kept at 1 or above.

    Args:
        first: First points, which initialise means and spread.
        components: Largest number of components.
        rate: Weight of a new batch in the moving averages.
        ridge: Added to every variance.
    """

    def __init__(self, first: Float[Tensor, "N D"], components: int, rate: float, ridge: float) -> None:
        points, width = first.shape
        self.rate, self.ridge, self.alpha = rate, ridge, 2.0
        # torch.distributions would validate on every call; the Beta(1, alpha) quantile has a closed form.
        uniform = torch.rand(components, device=first.device)
        self.sticks = 1 - uniform ** (1 / self.alpha)
        self.sticks[-1] = 1.0
        self.mean = F.normalize(torch.randn(components, width, device=first.device), dim=1)
        chosen = torch.randperm(points)[:components].to(first.device)
        self.mean[: len(chosen)] = first[chosen]
        self.variance = (first.var(0) + ridge).expand(components, -1).clone()
        self.amount = torch.zeros(components, device=first.device)
        self.sums = torch.zeros_like(self.mean)
        self.squares = torch.zeros_like(self.mean)

    def log_weights(self) -> Float[Tensor, " K"]:
        """Return the logarithm of the components' weights; minus infinity for empty ones."""
        left = torch.log1p(-self.sticks).cumsum(0).roll(1)
        left[0] = 0.0
        return left + self.sticks.log()

    def log_joint(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        """Return the joint log-density of every point and every component."""
        precision = 1 / self.variance
        square = x.square() @ precision.T - 2 * x @ (self.mean * precision).T + (self.mean.square() * precision).sum(1)
        constant = self.variance.log().sum(1) + x.shape[1] * math.log(2 * math.pi)
        return self.log_weights() - 0.5 * (square.clamp_min(0) + constant)

    def step(self, x: Float[Tensor, "N D"]) -> None:
        """Update with one batch of points."""
        joint = self.log_joint(x)
        shares = (joint - joint.logsumexp(1, keepdim=True)).exp()
        count, tiny = len(x), torch.finfo(torch.float32).eps
        self.amount.lerp_(shares.mean(0), self.rate)
        self.sums.lerp_(shares.T @ x / count, self.rate)
        self.squares.lerp_(shares.T @ x.square() / count, self.rate)
        safe = (self.amount + tiny)[:, None]
        self.mean = self.sums / safe
        variance = self.squares / safe + self.mean.square() - 2 * self.mean * self.sums / safe
        self.variance = variance.clamp_min(0) + self.ridge
        after = self.amount.flip(0).cumsum(0).flip(0) - self.amount
        self.sticks = self.amount / (self.amount + (self.alpha - 1) / count + after + tiny)
        higher = torch.digamma(count * (self.amount + after) + self.alpha + 1)
        gained = (higher - torch.digamma(count * after + self.alpha))[:-1].sum()
        self.alpha = max((len(self.amount) - 1) / float(gained), 1.0)


class Dpmm(GraphMethod):
    """DINO-DPMM (Schulthess and Konukoglu, MICCAI 2025, arXiv 2509.19997; NicoSchulthess/anomalydino-dpmm).

    One mixture per sequence, each fitted on that sequence alone; the map is the mean over the shown sequences, so any
    subset can be scored and a hidden sequence has no effect. Nothing is trained by gradient.
    """

    means: Float[Tensor, "S K D"]
    weights: Float[Tensor, "S K"]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        params = context.params
        self.image_size = int(params["image_size"])
        # Meta's DINOv2 without registers resizes its position table this way; the package's graph does not.
        offset = 0.0 if context.weights.kind == "package" else 0.1
        self.encoder = backbone(context, family="transformer", image_size=self.image_size, position_offset=offset)
        width, components = int(self.encoder.num_features), int(params["components"])  # type: ignore[arg-type]
        count = len(context.sequences)
        self.register_buffer("means", torch.zeros(count, components, width))
        self.register_buffer("weights", torch.zeros(count, components))

    def features(self, batch: Batch) -> Float[Tensor, "N P D"]:
        """Return unit patch features of every shown sequence, by slice and then by sequence."""
        pixels = shown_images(batch, self.context, self.image_size)
        return F.normalize(patch_tokens(self.encoder, pixels).float(), dim=-1)

    def prepare(self, normals: Normals) -> None:
        """Pool patches of every sequence in one pass, then fit one mixture per sequence."""
        params = self.context.params
        each = max(1, int(params["pool"]) // max(len(normals), 1))
        pools: list[list[Tensor]] = [[] for _ in self.context.sequences]
        for batch in normals.batches(int(params["pass_batch"]), description="patch features"):
            places = batch.shown.nonzero()[:, 1].tolist()
            for place, tokens in zip(places, self.features(batch), strict=True):
                pools[place].append(tokens[torch.randperm(len(tokens))[:each].to(tokens.device)])
        for place, parts in enumerate(pools):
            if parts:
                self._fit(place, torch.cat(parts))

    @full_precision
    def _fit(self, place: int, pool: Float[Tensor, "N D"]) -> None:
        params = self.context.params
        size = int(params["step_patches"])
        mixture: DirichletMixture | None = None
        for _ in range(int(params["passes"])):
            for chosen in torch.split(torch.randperm(len(pool)).to(pool.device), size):
                if mixture is None:
                    ridge, rate = float(params["ridge"]), float(params["update_rate"])
                    mixture = DirichletMixture(pool[chosen], int(params["components"]), rate, ridge)
                mixture.step(pool[chosen])
        if mixture is not None:
            weights = mixture.log_weights().exp()
            self.means[place].copy_(mixture.mean)
            self.weights[place].copy_(weights / weights.sum())

    def score(self, batch: Batch) -> Scores:
        """Return the cosine distance to the nearest component of sufficient weight, averaged over shown sequences."""
        tokens = self.features(batch)
        side = math.isqrt(tokens.shape[1])
        owners: Int[Tensor, "N 2"] = batch.shown.nonzero()
        total = tokens.new_zeros(batch.shown.shape[0], tokens.shape[1])
        for place, name in enumerate(self.context.sequences):
            mine = owners[:, 1] == place
            if in_graph() or mine.any():
                total.index_put_((owners[mine, 0],), self._distance(tokens[mine], place, name), accumulate=True)
        maps = (total / batch.shown.sum(1, keepdim=True)).view(-1, side, side)
        return to_scores(maps, str(self.context.params["image_score"]))

    @full_precision
    def _distance(self, tokens: Float[Tensor, "N P D"], place: int, name: str) -> Float[Tensor, "N P"]:
        heavy = self.weights[place] > LIGHTEST
        if in_graph():
            # A graph cannot have a size that depends on the weights; light components are put out of reach instead.
            alike = tokens @ F.normalize(self.means[place], dim=-1).T
            return 1 - alike.masked_fill(~heavy, -math.inf).amax(-1)
        if not heavy.any():
            raise UserError(
                f"No training scan has the sequence {name}, so dpmm has no mixture for it; leave {name} out of the "
                "protocol's sequences."
            )
        means = F.normalize(self.means[place][heavy], dim=-1)
        return 1 - (tokens @ means.T).amax(-1)
