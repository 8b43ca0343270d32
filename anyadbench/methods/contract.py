"""The contract between the harness and a method.

The harness owns data, masking, seeding, the loop, precision, checkpoints and scoring on test data. A method owns its
network, its input size and normalisation, its losses, optimisers and schedules, and how features become a map. While
fitting it sees lesion-free slices of training subjects only, and never a mask or a label.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from anyadbench.methods.freezing import excluded_names, keep_fixed

if TYPE_CHECKING:
    from typing import Self

    from jaxtyping import Bool, Float, Int

    from anyadbench.methods.params import Value
    from anyadbench.weights.resolved import ResolvedWeights


@dataclass(frozen=True)
class Context:
    """What a factory receives to build a method.

    Attributes:
        params: Every parameter of the descriptor with its resolved value.
        sequences: The protocol's sequences in canonical order; axis 1 of every batch.
        grid: Height and width in pixels of the slices.
        weights: Resolved pretrained weights (``weights.kind == "none"`` if the method needs none).
        missing: ``native`` (the method's own way), ``zero-norm``, ``black`` or ``replicate``.
        device: Where the method will be moved after construction.
    """

    params: Mapping[str, Value]
    sequences: tuple[str, ...]
    grid: tuple[int, int]
    weights: ResolvedWeights
    missing: str = "native"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class Batch:
    """Slices as a method sees them; values are in the protocol's intensity scale, not normalised.

    Attributes:
        inputs: Shown sequences; every hidden sequence is zero.
        shown: Which sequences of each slice are shown; at least one.
        targets: In training only: every sequence that the scan has and the protocol allows, others zero.
        present: In training only: which sequences ``targets`` contains; never fewer than ``shown``.
        keys: In training only: a stable number per training slice, e.g. to cache values computed from its targets.
    """

    inputs: Float[Tensor, "B S H W"]
    shown: Bool[Tensor, "B S"]
    targets: Float[Tensor, "B S H W"] | None = None
    present: Bool[Tensor, "B S"] | None = None
    keys: Int[Tensor, " B"] | None = None

    def __len__(self) -> int:
        return int(self.inputs.shape[0])

    def to(self, device: torch.device) -> Batch:
        """Return the batch with every tensor on ``device``."""
        moved: dict[str, Any] = {
            name: None if value is None else value.to(device, non_blocking=True) for name, value in vars(self).items()
        }
        return Batch(**moved)

    @staticmethod
    def full(targets: Tensor, present: Tensor, keys: Tensor | None = None) -> Batch:
        """Return a batch that shows everything the scans have."""
        return Batch(targets, present, targets, present, keys)


@dataclass(frozen=True)
class Scores:
    """A method's scores for a batch.

    Attributes:
        maps: Higher is more abnormal, on any grid; the harness resamples them bilinearly to the scoring grid.
        images: One score per slice; ``None`` asks the harness for the mean of the map's highest 1 %.
    """

    maps: Float[Tensor, "B h w"]
    images: Float[Tensor, " B"] | None = None


@dataclass(frozen=True)
class OptimizerSpec:
    """One named optimiser with its learning-rate schedule and gradient clipping.

    Attributes:
        optimizer: Built over the parameters that it trains.
        schedule: Factor on each group's initial learning rate as a function of (step from 0, total steps).
        clip_norm: Total gradient norm to clip to; ``None`` for no clipping.
    """

    optimizer: torch.optim.Optimizer
    schedule: Callable[[int, int], float] | None = None
    clip_norm: float | None = None

    @property
    def parameters(self) -> Iterator[nn.Parameter]:
        """Every parameter of every group."""
        return (parameter for group in self.optimizer.param_groups for parameter in group["params"])


Losses = Mapping[str, Tensor]
"""Named scalar losses of one optimiser; the harness adds them up and calls ``backward`` once."""


class Loop(Protocol):
    """The part of the harness that ``Method.manual_step`` may use."""

    step: int
    total: int

    @property
    def normals(self) -> Normals:
        """The training normals, for a method that iterates over them again while it trains."""

    def update(self, optimizer: str, losses: Losses) -> None:
        """Zero the optimiser's gradients, back-propagate the sum, clip, step, and advance its schedule."""


class Method(nn.Module, abc.ABC):
    """A method under construction, in training, or scoring.

    The harness sets train and eval mode: ``train()`` before every training step, ``eval()`` before
    ``prepare`` and ``score``. A part that ``anyadbench.api.freeze`` has fixed stays in eval mode, and its tensors are
    not stored with a cell.
    """

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context

    def train(self, mode: bool = True) -> Self:
        """Switch the mode; frozen parts stay in eval mode."""
        super().train(mode)
        keep_fixed(self)
        return self

    def prepare(self, normals: Normals) -> None:
        """Pass over the training normals before the first step (statistics, banks, cached targets)."""

    def optimizers(self) -> Mapping[str, OptimizerSpec]:
        """Return the named optimisers; none for a method without gradient training."""
        return {}

    def training_step(self, batch: Batch, step: int, total: int) -> Mapping[str, Losses]:
        """Return named losses per optimiser for one batch of training normals.

        Losses of different optimisers must not share a graph: each is back-propagated and stepped in turn. A method
        whose losses do share one sets ``manual_step``.
        """
        raise TypeError(f"{type(self).__name__} has optimisers but no training_step")

    manual_step: Callable[[Batch, Loop], Mapping[str, float]] | None = None
    """Set to a method that runs alternating updates itself (GANs); it replaces ``training_step``."""

    validate: Callable[[Normals], float] | None = None
    """Set to a function of the validation normals that returns a number; lower is better. Without it, a protocol that
    selects on validation normals compares the mean of the training losses."""

    @abc.abstractmethod
    def score(self, batch: Batch) -> Scores:
        """Return anomaly maps for slices of any subject, from the shown sequences alone."""

    def saved_state(self) -> dict[str, Tensor]:
        """Return what a cell stores: the state dict without the frozen parts."""
        excluded = excluded_names(self)
        return {k: v.detach() for k, v in self.state_dict().items() if k not in excluded}

    def load_saved_state(self, state: Mapping[str, Tensor]) -> None:
        """Load what ``saved_state`` returned, strictly.

        Raises:
            ValueError: If an entry is missing, left over, or of another shape.
        """
        own = self.state_dict().keys() - excluded_names(self)
        missing, extra = sorted(own - set(state)), sorted(set(state) - own)
        if missing or extra:
            raise ValueError(f"state does not fit {type(self).__name__}: missing {missing[:3]}, left over {extra[:3]}")
        self.load_state_dict(dict(state), strict=False)

    def load_published(self, states: Mapping[str, Any]) -> None:
        """Load a checkpoint in the authors' own naming, strictly; methods that have one override this."""
        from anyadbench.errors import UserError

        raise UserError(f"{type(self).__name__} has no published checkpoint format; train it, or load a cell.")

    def exportable(self) -> nn.Module | None:
        """Return a module of (slices B×S×H×W, availability B×S) to maps B×H×W and image scores B, or ``None``.

        ``None``, the default, means that scoring cannot be a graph. A method whose ``score`` uses tensor operations
        alone derives from ``anyadbench.methods.graph.GraphMethod``, which returns a ``ScoreGraph`` of itself.
        """
        return None


class Normals(Protocol):
    """The training normals as ``Method.prepare`` receives them; every pass yields the same batches."""

    def __len__(self) -> int: ...

    def batches(self, batch_size: int, *, masked: bool = False, description: str = "preparing") -> Iterator[Batch]:
        """Yield the slices in store order, on the method's device.

        Args:
            batch_size: Slices per batch; the last batch may be smaller.
            masked: ``False`` shows everything each scan has; ``True`` applies the training mask of epoch 0.
            description: Label of the progress bar.
        """
