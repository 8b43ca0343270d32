"""Where training starts: the untrained method, and its feed of training normals."""

from __future__ import annotations

from collections.abc import Callable

from anyadbench.engine.batches import TrainingFeed
from anyadbench.engine.numerics import derive_seed, seed_everything
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.settings import Training, batch_size
from anyadbench.methods.contract import Context, Method
from anyadbench.methods.descriptor import RETRAIN, MethodDescriptor
from anyadbench.sequences import Subset
from anyadbench.weights import ResolvedWeights


def build_method(
    descriptor: MethodDescriptor,
    training: Training,
    data: ProtocolData,
    weights: ResolvedWeights,
    subset: Subset | None = None,
) -> Method:
    """Seed every generator, then build the method on its device, with the authors' checkpoint loaded if requested.

    Args:
        descriptor: The method.
        training: How it is trained.
        data: The protocol's slices.
        weights: Pretrained weights.
        subset: Sequences that the model is built for; all of the protocol's by default.
    """
    seed_everything(derive_seed(training.seed, descriptor.name))
    device = training.policy.torch_device()
    context = Context(
        params=training.params,
        sequences=subset or data.protocol.sequences,
        grid=data.reader(data.protocol.train).shape,
        weights=weights,
        missing="native" if training.missing == RETRAIN else training.missing,
        device=device,
    )
    method = descriptor.build(context)
    if weights.kind == "checkpoint":
        method.load_published(weights.published())
    return method.to(device)


def training_feed(
    descriptor: MethodDescriptor,
    training: Training,
    data: ProtocolData,
    subset: Subset | None = None,
    tick: Callable[[int, int, str], None] = lambda done, total, label: None,
) -> TrainingFeed:
    """Return the training normals of a fit as batches.

    Args:
        descriptor: The method.
        training: How it is trained.
        data: The protocol's slices.
        subset: Sequences that are read; all of the protocol's by default.
        tick: Called with (done, total, label) while a pass runs.
    """
    return TrainingFeed(
        reader=data.reader(data.protocol.train, sequences=subset),
        indices=data.train_indices(subset),
        training_mask=descriptor.training_mask,
        seed=derive_seed(training.seed, descriptor.name),
        batch_size=batch_size(training.params),
        drop_last=bool(training.params.get("drop_last", False)),
        device=training.policy.torch_device(),
        tick=tick,
    )
