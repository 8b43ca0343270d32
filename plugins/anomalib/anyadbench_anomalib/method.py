"""The adapter between the harness and anomalib's models."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from anyadbench.methods.contract import Batch, Context, Loop, Losses, Normals, OptimizerSpec, Scores
from anyadbench.methods.graph import GraphMethod
from anyadbench.methods.inputs import IMAGENET_MEAN, IMAGENET_STD, as_rgb, resize
from anyadbench_anomalib.catalogue.entry import Model
from anyadbench_anomalib.stage import Loader, Stage, as_batch, attach, optimisers, rates, restore_rates
from anyadbench_anomalib.weights import Supply, resized_positions

if TYPE_CHECKING:
    from jaxtyping import Float

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
NO_MAP_SIDE = 8
"""Side of the constant map of a model that has only an image score."""


class AnomalibMethod(GraphMethod):
    """A model of anomalib: its own network, losses and optimisers, in the harness's loop.

    Everything runs in float32, the default of anomalib's engine.
    """

    def __init__(self, context: Context, model: Model, module: Any, supply: Supply) -> None:
        super().__init__(context)
        self.entry, self.supply = model, supply
        self.missing = "zero-norm" if context.missing == "native" else context.missing
        self.module = module
        self.stage = Stage()
        attach(module, self.stage, context.device)
        self.frozen = tuple(f"module.model.{prefix}" for prefix in model.fixed)
        # Lightning keeps parts in eval mode that were in it when training began.
        self._kept_in_eval = {name for name, part in self.named_modules() if name and not part.training}
        self.slices: Tensor
        self.register_buffer("slices", torch.zeros((), dtype=torch.long))
        self.train()

    def train(self, mode: bool = True) -> AnomalibMethod:
        """Switch the mode; parts that anomalib sets to eval mode when it builds the model stay in it."""
        super().train(mode)
        if mode:
            for name, part in self.named_modules():
                if name in self._kept_in_eval:
                    part.training = False
        return self

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run anomalib's code as anomalib would: in float32, resizing position tables in its own way."""
        with resized_positions(self.supply), torch.autocast(self.slices.device.type, enabled=False):
            yield

    def normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        """Return each channel's mean and standard deviation for normalising pixels."""
        if not self.entry.normalised:
            return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        weights = self.context.weights
        return (IMAGENET_MEAN, IMAGENET_STD) if weights.kind == "none" else (weights.mean, weights.std)

    def images(self, batch: Batch) -> Float[Tensor, "B 3 h w"]:
        """Return the shown sequences of a batch as three channels."""
        mean, std = self.normalisation()
        layout = str(self.context.params["channels"])
        inputs = resize(batch.inputs, int(self.context.params["image_size"]))
        return as_rgb(inputs, batch.shown, self.missing, mean, std, layout)

    def loader(self, normals: Normals) -> Loader:
        """Return the training normals as a data loader."""
        return Loader(normals, int(self.context.params["batch_size"]), self.images)

    def prepare(self, normals: Normals) -> None:
        """Count the normals, and fit a model that is not trained by gradients."""
        self.slices.fill_(len(normals))
        with self.running():
            for _ in range(self.entry.passes):
                self.train()
                for batch in self.loader(normals):
                    self.module.training_step(batch)
                self.module.on_train_epoch_end()
            self.eval()
            self.start(normals)

    def start(self, normals: Normals) -> None:
        """Run the model's work at the start of training; nothing by default."""

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Return anomalib's optimisers with its schedules and its gradient clipping."""
        if not self.entry.trained:
            return {}
        self.stage.plan(self.context.params, int(self.slices))
        clip = float(self.module.trainer_arguments.get("gradient_clip_val", 0)) or None
        specs = {}
        for index, (optimiser, scheduler) in enumerate(optimisers(self.module)):
            restore_rates(optimiser)
            # Lightning never advances schedules of modules with manual optimisation.
            scheduled = scheduler is not None and self.module.automatic_optimization
            specs[f"optimizer{index}"] = OptimizerSpec(optimiser, self._schedule(index) if scheduled else None, clip)
        held = [spec.optimizer for spec in specs.values()]
        self.module.optimizers = lambda *args, **options: held if len(held) > 1 else held[0]
        return specs

    def _schedule(self, index: int) -> Callable[[int, int], float]:
        table: list[float] = []

        def factor(step: int, total: int) -> float:
            if not table:
                self.stage.plan(self.context.params, int(self.slices))
                optimiser, scheduler = optimisers(self.module)[index]
                table.extend(rates(optimiser, scheduler, total))
            return table[step if self.context.params["schedule_per"] == "step" else step // self.stage.batches]

        return factor

    def training_step(self, batch: Batch, step: int, total: int) -> Mapping[str, Losses]:
        """Return the loss of anomalib's own training step."""
        return {"optimizer0": {"loss": self.own_step(batch, step)["loss"]}}

    def own_step(self, batch: Batch, step: int) -> Mapping[str, Tensor]:
        """Run anomalib's training step."""
        self.stage.plan(self.context.params, int(self.slices))
        self.stage.at(step)
        own = self.module.training_step
        index = {"batch_idx": step} if "batch_idx" in inspect.signature(own).parameters else {}
        with self.running():
            found: Mapping[str, Tensor] = own(as_batch(self.images(batch)), **index)
        return found

    def score(self, batch: Batch) -> Scores:
        """Return the maps and scores of anomalib's inner model, without its post-processing."""
        with self.running():
            found = self.module.model(self.images(batch))
        images = found.pred_score.detach().float().reshape(-1)
        if found.anomaly_map is None:
            return Scores(images[:, None, None].expand(-1, NO_MAP_SIDE, NO_MAP_SIDE).contiguous(), images)
        maps = found.anomaly_map.detach().float()
        return Scores(maps.reshape(-1, *maps.shape[-2:]), images)


class Stepping(AnomalibMethod):
    """A model that steps its own optimisers."""

    def __init__(self, context: Context, model: Model, module: Any, supply: Supply) -> None:
        super().__init__(context, model, module, supply)
        self.manual_step = self.alternate

    def alternate(self, batch: Batch, loop: Loop) -> Mapping[str, float]:
        """Run anomalib's training step, which backpropagates and steps."""
        return {name: float(value.detach().sum()) for name, value in self.own_step(batch, loop.step).items()}


class Dsr(Stepping):
    """DSR: the pass from which the upsampling module is trained, known once the slices are counted."""

    def own_step(self, batch: Batch, step: int) -> Mapping[str, Tensor]:
        """Run anomalib's training step."""
        self.stage.plan(self.context.params, int(self.slices))
        passes = max(self.stage.max_steps // self.stage.batches, self.stage.max_epochs)
        self.module.second_phase = int(passes * self.module.upsampling_train_ratio)
        return super().own_step(batch, step)


class Cfa(AnomalibMethod):
    """CFA: centres before training."""

    def __init__(self, context: Context, model: Model, module: Any, supply: Supply) -> None:
        super().__init__(context, model, module, supply)
        # It requests gradients that no optimiser uses, through the same graph in every step.
        module.loss.radius = module.loss.radius.detach()

    def start(self, normals: Normals) -> None:
        """Average the features of the normals at every position."""
        self.module.model.initialize_centroid(self.loader(normals))


class Patchcore(AnomalibMethod):
    """PatchCore: distances that do not depend on the batch."""

    def __init__(self, context: Context, model: Model, module: Any, supply: Supply) -> None:
        super().__init__(context, model, module, supply)
        self._search = module.model.nearest_neighbors
        module.model.nearest_neighbors = self.nearest

    def nearest(self, embedding: Float[Tensor, "N D"], n_neighbors: int) -> tuple[Tensor, Tensor]:
        """Find neighbours as anomalib does, but compute the distance to the nearest from the difference."""
        distances, places = self._search(embedding, n_neighbors)
        if n_neighbors == 1:
            distances = (embedding - self.module.model.memory_bank[places]).norm(dim=1)
        return distances, places


class Cflow(Stepping):
    """CFLOW-AD: a map that does not depend on the batch."""

    def __init__(self, context: Context, model: Model, module: Any, supply: Supply) -> None:
        super().__init__(context, model, module, supply)
        module.model.anomaly_map_generator.compute_anomaly_map = likelihood_map


def likelihood_map(
    distribution: list[Tensor], height: list[int], width: list[int], image_size: tuple[int, int]
) -> Float[Tensor, "B H W"]:
    """Return minus the sum of the levels' likelihoods, with the signature of anomalib's generator."""
    total: Tensor | None = None
    for level, rows, columns in zip(distribution, height, width, strict=True):
        likelihood = level.exp().reshape(-1, 1, rows, columns)
        scaled = torch.nn.functional.interpolate(likelihood, image_size, mode="bilinear", align_corners=True)[:, 0]
        total = scaled if total is None else total + scaled
    assert total is not None
    return -total


class Glass(Stepping):
    """GLASS: the centre of the normals is recomputed at the start of every pass."""

    def __init__(self, context: Context, model: Model, module: Any, supply: Supply) -> None:
        super().__init__(context, model, module, supply)
        self.centre: Tensor
        self.register_buffer("centre", torch.zeros(0))

    def alternate(self, batch: Batch, loop: Loop) -> Mapping[str, float]:
        """Compute the centre if a pass starts, then step."""
        self.stage.plan(self.context.params, int(self.slices))
        if loop.step % self.stage.batches == 0:
            with self.running():
                self.module.model.calculate_center(self.loader(loop.normals), self.slices.device)
            self.centre = self.module.model.center
            self.train()
        self.module.model.center = self.centre
        return super().alternate(batch, loop)

    def load_saved_state(self, state: Mapping[str, Tensor]) -> None:
        """Load a centre of any shape, then the rest as usual."""
        if "centre" in state:
            self.centre = torch.zeros_like(state["centre"], device=self.centre.device)
        super().load_saved_state(state)


class EfficientAd(AnomalibMethod):
    """EfficientAD: statistics of the teacher before training, quantiles of the maps after it."""

    def __init__(self, context: Context, model: Model, module: Any, supply: Supply) -> None:
        super().__init__(context, model, module, supply)
        self.manual_step = self.step_and_range

    def start(self, normals: Normals) -> None:
        """Compute the mean and deviation of the teacher's channels."""
        self.module.model.mean_std.update(self.module.teacher_channel_mean_std(self.loader(normals)))

    def step_and_range(self, batch: Batch, loop: Loop) -> Mapping[str, float]:
        """Train on a slice and an image of ImageNette; after the last step, compute the quantiles."""
        if not hasattr(self.module, "imagenet_iterator"):
            self.module.prepare_imagenette_data(self.images(batch).shape[-2:])
        loss = self.own_step(batch, loop.step)["loss"]
        loop.update("optimizer0", {"loss": loss})
        if loop.step == loop.total - 1:
            self.eval()
            with self.running():
                self.module.model.quantiles.update(self.module.map_norm_quantiles(self.loader(loop.normals)))
        return {"loss": float(loss.detach())}


class WinClip(AnomalibMethod):
    """WinCLIP: embeddings of sentences, and of ``k_shot`` normal slices."""

    def __init__(self, context: Context, model: Model, module: Any, supply: Supply) -> None:
        super().__init__(context, model, module, supply)
        keep_lists(module.model)
        keep_windows_apart(module.model)

    def normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        """Return CLIP's mean and deviation."""
        return CLIP_MEAN, CLIP_STD

    def start(self, normals: Normals) -> None:
        """Embed the sentences and the normal slices."""
        inner = self.module.model
        inner.setup(self.module.class_name or "object", self.references(normals))
        inner.reference_images = None
        # As after loading: the memory layout decides the last digits of a product.
        inner._visual_embeddings = [level.contiguous() for level in inner._visual_embeddings]
        inner._patch_embeddings = inner._patch_embeddings.contiguous()

    def references(self, normals: Normals) -> Float[Tensor, "K 3 h w"] | None:
        """Return the first ``k_shot`` normal slices, or all if there are fewer."""
        count = int(self.context.params["k_shot"])
        found: list[Tensor] = []
        for batch in self.loader(normals) if count else ():
            found.append(batch.image)
            if sum(map(len, found)) >= count:
                break
        return torch.cat(found)[:count] if found else None

    def load_saved_state(self, state: Mapping[str, Tensor]) -> None:
        """Load the embeddings, whose shape gives the number of normal slices."""
        super().load_saved_state(state)
        self.module.model.k_shot = len(self.module.model._patch_embeddings)


def keep_lists(inner: Any) -> None:
    """Store the number of scales in this model; anomalib stores it in a class shared by all models of a process."""
    from anomalib.models.components.base.buffer_list import BufferListDescriptor

    lists = {name: BufferListDescriptor(name, len(inner.scales)) for name in ("masks", "_visual_embeddings")}
    inner.__class__ = type(type(inner).__name__, (type(inner),), lists)


def keep_windows_apart(inner: Any) -> None:
    """Let tokens attend only to those of their own window.

    anomalib passes windows with the tokens first, as open_clip's transformers expected before 2.26.1. Later releases
    expect windows first, and would attend across windows and images instead.
    """
    transformer, own = inner.clip.visual.transformer, inner._get_window_embeddings
    if not getattr(transformer, "batch_first", False):
        return

    def turned(feature_map: Tensor, masks: Tensor) -> Tensor:
        before = transformer.register_forward_pre_hook(lambda _, given: (given[0].transpose(0, 1), *given[1:]))
        after = transformer.register_forward_hook(lambda _, given, found: found.transpose(0, 1))
        try:
            windows: Tensor = own(feature_map, masks)
        finally:
            before.remove()
            after.remove()
        return windows

    inner._get_window_embeddings = turned


ADAPTERS: dict[str, type[AnomalibMethod]] = {
    "cfa": Cfa,
    "cflow": Cflow,
    "dsr": Dsr,
    "efficient_ad": EfficientAd,
    "ganomaly": Stepping,
    "glass": Glass,
    "patchcore": Patchcore,
    "winclip": WinClip,
}
"""Models for which the adapter does something more."""
