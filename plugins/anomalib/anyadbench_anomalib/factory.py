"""Building a method from one of anomalib's models."""

from __future__ import annotations

import importlib
import random
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from anyadbench.api import Context, UserError, read_tensors
from anyadbench_anomalib.arguments import arguments
from anyadbench_anomalib.catalogue import MODELS
from anyadbench_anomalib.catalogue.entry import RELEASE, Model
from anyadbench_anomalib.descriptors import INSTALL
from anyadbench_anomalib.files import needed
from anyadbench_anomalib.method import ADAPTERS, AnomalibMethod
from anyadbench_anomalib.weights import replaced, supplied


def build(context: Context) -> AnomalibMethod:
    """Build the method for the model named by the parameter ``model``.

    Raises:
        UserError: If another release of anomalib is installed, or weights or files are missing.
    """
    model = MODELS[str(context.params["model"])]
    owner = f"anomalib:{model.name}"
    _check_release(owner)
    if context.weights.kind == "none" and any(model.weights.values()):
        raise UserError(
            f"{owner} starts from a pretrained network that no package carries; give --weights published or "
            "file:PATH, or --weights random for a marked row."
        )
    cls = _imported(model)
    given = arguments(model, context)
    with supplied(context.weights, owner) as supply:
        module = _module(model, cls, context, given)
    adapter = ADAPTERS.get(model.name, AnomalibMethod)
    return adapter(context, model, module, supply)


def _check_release(owner: str) -> None:
    if not version("anomalib").startswith(f"{RELEASE}."):
        raise UserError(
            f"{owner} is written for anomalib {RELEASE}, but {version('anomalib')} is installed; run {INSTALL}."
        )


def _imported(model: Model) -> Any:
    """Return the class of anomalib's Lightning module, and leave the state of Python's random numbers unchanged.

    The package rich, which anomalib imports, draws a number on import: only the first model of a process would
    then train with different numbers than the rest.
    """
    drawn = random.getstate()
    try:
        return getattr(importlib.import_module(f"anomalib.models.image.{model.name}.lightning_model"), model.cls)
    finally:
        random.setstate(drawn)


def _module(model: Model, cls: Any, context: Context, given: dict[str, Any]) -> Any:
    """Build anomalib's Lightning module."""
    if not model.files:
        return cls(**given)
    files = needed(context.params)
    first = next(iter(files.values()))
    if model.name == "draem":
        return cls(dtd_dir=first, **given)
    if model.name == "csflow":
        network = importlib.import_module("anomalib.models.image.csflow.torch_model")
        with replaced(network, "efficientnet_b5", lambda weights: _efficientnet_b5(first)):
            return cls(**given)
    if model.name == "dsr":
        module = cls(**given)
        _fill(module.model.discrete_latent_model, first, model)
        return module
    if model.name == "winclip":
        network = importlib.import_module("anomalib.models.image.winclip.torch_model")
        clip = _clip(network, first)
        with replaced(network.open_clip, "create_model_and_transforms", lambda *args, **options: (clip, None, None)):
            return cls(**given)
    return _efficient_ad(cls(imagenet_dir=files["imagenette"], **given), first, context)


def _efficient_ad(module: Any, folder: Path, context: Context) -> Any:
    teacher = folder / f"pretrained_teacher_{context.params['model_size']}.pth"
    if not teacher.is_file():
        raise UserError(
            f"anomalib:efficient_ad: {folder} has no {teacher.name}; unpack anomalib's archive "
            "efficientad_pretrained_weights there."
        )
    _fill(module.model.teacher, teacher, MODELS["efficient_ad"])
    return module


def _efficientnet_b5(path: Path) -> Any:
    from torchvision.models import efficientnet_b5

    network = efficientnet_b5(weights=None)
    _fill(network, path, MODELS["csflow"])
    return network


def _clip(network: Any, path: Path) -> Any:
    """Build the CLIP that anomalib would download, with weights from a file."""
    library = network.open_clip  # None if anomalib could not import it
    if library is None:
        raise UserError(
            "anomalib:winclip needs the package open_clip, which is not installed; run 'pip install open-clip-torch'."
        )
    # Not create_model, which warns about random weights if it gets none.
    clip = library.CLIP(**library.get_model_config(network.BACKBONE))
    _fill(clip, path, MODELS["winclip"])
    return clip


def _fill(network: nn.Module, path: Path, model: Model) -> None:
    """Load a file of weights into one of the model's networks.

    Raises:
        UserError: If the file cannot be read or contains another network.
    """
    own = network.state_dict()
    found = {name.removeprefix("module."): tensor for name, tensor in read_tensors(path).items()}
    # Older files lack num_batches_tracked.
    names = {name for name in own.keys() | found if not name.endswith("num_batches_tracked")}
    bad = sorted(n for n in names if n not in own or n not in found or own[n].shape != found[n].shape)
    if bad:
        raise UserError(
            f"anomalib:{model.name}: {path} does not fit ({bad[0]}); replace it by {'; '.join(model.files.values())}."
        )
    network.load_state_dict({name: found[name] for name in names}, strict=False)
