"""Builds a method from one of anomalib's models."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from anyadbench.errors import UserError
from anyadbench.methods.base import Context
from anyadbench.weights.reading import read_tensors
from anyadbench_anomalib.arguments import arguments
from anyadbench_anomalib.catalogue import MODELS
from anyadbench_anomalib.catalogue.entry import RELEASE, Model
from anyadbench_anomalib.descriptors import installed
from anyadbench_anomalib.files import needed
from anyadbench_anomalib.method import ADAPTERS, AnomalibMethod
from anyadbench_anomalib.weights import replaced, supplied


def build(context: Context) -> AnomalibMethod:
    """Build the method of the model that the parameter ``model`` names.

    Raises:
        UserError: If the model cannot be run, or anomalib, weights or files are missing.
    """
    model = MODELS[str(context.params["model"])]
    owner = f"anomalib:{model.name}"
    if model.cannot:
        raise UserError(f"{owner} cannot be run: {model.cannot}.")
    _check_installed(owner)
    if context.weights.kind == "none" and any(model.weights.values()):
        raise UserError(
            f"{owner} starts from a pretrained network that no package carries; give --weights published or "
            "file:PATH, or --weights random for a row that is marked."
        )
    given = arguments(model, context)
    with supplied(context.weights, owner) as supply:
        module = _module(model, context, given)
    adapter = ADAPTERS.get(model.name, AnomalibMethod)
    return adapter(context, model, module, supply)


def _check_installed(owner: str) -> None:
    fix = f"'pip install \"anomalib=={RELEASE}.*\"'"
    if not installed():
        raise UserError(f"{owner} needs the package anomalib, which is not installed; {fix} adds it.")
    if not version("anomalib").startswith(f"{RELEASE}."):
        raise UserError(
            f"{owner} is written for anomalib {RELEASE}, and {version('anomalib')} is installed; use {fix}."
        )


def _module(model: Model, context: Context, given: dict[str, Any]) -> Any:
    """Build anomalib's Lightning module."""
    package = importlib.import_module(f"anomalib.models.image.{model.name}.lightning_model")
    cls = getattr(package, model.cls)
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
        module.model.load_pretrained_discrete_model_weights(first, "cpu")
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
    module.model.teacher.load_state_dict(torch.load(teacher, map_location="cpu", weights_only=True))
    return module


def _efficientnet_b5(path: Any) -> Any:
    from torchvision.models import efficientnet_b5

    network = efficientnet_b5(weights=None)
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network


def _clip(network: Any, path: Path) -> Any:
    """Build the CLIP that anomalib would download, with the weights of a file."""
    library = network.open_clip  # None where anomalib could not import it
    if library is None:
        raise UserError(
            "anomalib:winclip needs the package open_clip, which is not installed; 'pip install open-clip-torch' adds "
            "it."
        )
    # Not create_model, which warns of random weights where it is given none.
    clip = library.CLIP(**library.get_model_config(network.BACKBONE))
    own = clip.state_dict()
    state = {name.removeprefix("module."): tensor for name, tensor in read_tensors(path).items()}
    bad = sorted(k for k in own.keys() | state if k not in own or k not in state or own[k].shape != state[k].shape)
    if bad:
        raise UserError(
            f"anomalib:winclip: {path} does not fit open_clip's {network.BACKBONE} ({bad[0]}); put open_clip's file of "
            f"{network.PRETRAINED} there."
        )
    clip.load_state_dict(state)
    return clip
