"""Supplying the harness's weights to networks that anomalib would download."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import timm
import torch
import torchvision
from timm.models import vision_transformer
from torch import nn

from anyadbench.errors import UserError
from anyadbench.weights import ResolvedWeights, fill_backbone, resolve

_POSITIONS = "resample_abs_pos_embed"
_TORCHVISION = ("resnet18", "resnet34", "resnet50", "wide_resnet50_2", "vgg19_bn")
_HEADS = ("fc.", "classifier.")
_SECOND = {"cait_s24_224": "cait_s24_224.fb_dist_in1k"}
"""Networks that a model needs besides the one of its weights."""


@dataclass
class Supply:
    """What building a model produced besides the model.

    Attributes:
        positions: Function with which timm resizes position tables while the model runs; ``None`` for its own.
    """

    positions: Callable[..., Any] | None = None


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute temporarily."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def supplied(weights: ResolvedWeights, owner: str) -> Iterator[Supply]:
    """Answer every request for a pretrained network of timm or torchvision with ``weights``.

    anomalib asks both for networks by name, and both would download. If the requested name is that of the model's one
    backbone, it is ignored, so that models which offer two names accept any network whose features they can use.
    anomalib also switches off antialiasing of position tables in timm for good; here it is off only while its model
    runs, so that other methods of the process are unaffected.

    Args:
        weights: Resolved weights; ``none`` only for a model that requests no such network.
        owner: Name of the method, for error messages.
    """
    supply, own = Supply(), getattr(vision_transformer, _POSITIONS)
    with ExitStack() as stack:
        stack.enter_context(replaced(timm, "create_model", _creator(timm.create_model, weights)))
        for name in _TORCHVISION:
            builder = getattr(torchvision.models, name)
            stack.enter_context(replaced(torchvision.models, name, _builder(builder, weights, owner)))
        stack.enter_context(replaced(vision_transformer, _POSITIONS, own))
        yield supply
        found = getattr(vision_transformer, _POSITIONS)
        supply.positions = None if found is own else found


@contextmanager
def resized_positions(supply: Supply) -> Iterator[None]:
    """Resize position tables as anomalib does."""
    if supply.positions is None:
        yield
        return
    with replaced(vision_transformer, _POSITIONS, supply.positions):
        yield


def _creator(create: Callable[..., nn.Module], weights: ResolvedWeights) -> Callable[..., nn.Module]:
    def supply(model_name: str, pretrained: bool = False, **options: Any) -> nn.Module:
        if not pretrained:
            return create(model_name, pretrained=False, **options)
        found = weights
        if model_name in _SECOND:
            listed = _SECOND[model_name]
            found = resolve("random" if found.kind == "random" else "published", {"published": listed})
        options.pop("pretrained_cfg", None)
        if not options.get("features_only"):
            options["num_classes"] = 0
            if found.architecture.startswith("vit_") and "img_size" not in options:
                options["dynamic_img_size"] = True
        network = create(found.architecture, pretrained=False, **options)
        fill_backbone(network, found)
        return network

    return supply


def _builder(build: Callable[..., nn.Module], weights: ResolvedWeights, owner: str) -> Callable[..., nn.Module]:
    def supply(*, weights: Any = None, **options: Any) -> nn.Module:
        network = build(weights=None, **options)
        if weights is not None:
            _fill_torchvision(network, given, owner)
        return network

    given = weights
    return supply


@torch.no_grad()
def _fill_torchvision(network: nn.Module, weights: ResolvedWeights, owner: str) -> None:
    """Load weights in timm's naming, which for ResNets and VGG is torchvision's except for the head."""
    if weights.kind == "random":
        return
    state = weights.state_dict()
    own = {key: value for key, value in network.state_dict().items() if not key.startswith(_HEADS)}
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    bad = sorted(k for k in own.keys() - counters if k not in state or state[k].shape != own[k].shape)
    if bad:
        raise UserError(
            f"{owner} needs a network as built by torchvision, and {weights.architecture} does not fit ({bad[0]}); "
            "choose one of its backbones."
        )
    network.load_state_dict({key: state[key] for key in own if key in state}, strict=False)
