"""From a method's parameters to the arguments of anomalib's module."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import timm

from anyadbench.errors import UserError
from anyadbench.methods.contract import Context
from anyadbench_anomalib.catalogue.entry import Model

Arguments = dict[str, Any]


def arguments(model: Model, context: Context) -> Arguments:
    """Return the arguments for building anomalib's module; its post-processing and metrics are off."""
    found: Arguments = {param.name: context.params[param.name] for param in model.own}
    found |= {name: base_name(context) for name in model.architecture}
    argument, stages = model.levels
    if argument:
        # Numbers denote the same strides in any timm network: layer1 of a ResNet is its feature map 1.
        named = [f"layer{stage}" if "resnet" in base_name(context) else stage for stage in stages]
        found[argument] = named if argument == "layers" else named[0]
    if model.name in SPECIAL:
        found |= SPECIAL[model.name](found, context)
    return found | {
        "pre_processor": pre_processor(model, context),
        "post_processor": False,
        "evaluator": False,
        "visualizer": False,
    }


def pre_processor(model: Model, context: Context) -> Any:
    """Return a pre-processor of the input's size; modules only read its sizes and normalisation."""
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms.v2 import Compose, Normalize, Resize

    size = int(context.params["image_size"])
    steps: list[Any] = [Resize((size, size))]
    if model.normalised and context.weights.kind != "none":
        steps.append(Normalize(list(context.weights.mean), list(context.weights.std)))
    return PreProcessor(transform=Compose(steps))


def base_name(context: Context) -> str:
    """Return the name of the weights' architecture without its tag."""
    return context.weights.architecture.partition(".")[0]


def _size(context: Context) -> int:
    return int(context.params["image_size"])


def _one_of(names: tuple[str, ...], context: Context) -> str:
    """Return the backbone's name if anomalib offers it here, else one whose code accepts any network with strides."""
    return base_name(context) if base_name(context) in names else "resnet18"


def _patch(context: Context) -> int:
    found = re.search(r"patch(\d+)", context.weights.architecture)
    return int(found[1]) if found else 14


def _padim(found: Arguments, context: Context) -> Arguments:
    own = 550 if base_name(context).startswith("wide_resnet50") else 100
    return {"n_features": int(found["n_features"]) or own}


def _fre(found: Arguments, context: Context) -> Arguments:
    network: Any = timm.create_model(base_name(context), pretrained=False, features_only=True, out_indices=[3])
    side = _size(context) // 16 // int(found["pooling_kernel_size"])
    return {"input_dim": int(network.feature_info.channels()[0]) * side * side}


def _fastflow(found: Arguments, context: Context) -> Arguments:
    del found
    known = ("resnet18", "wide_resnet50_2", "cait_m48_448", "deit_base_distilled_patch16_384")
    return {"backbone": _one_of(known, context)}


def _uflow(found: Arguments, context: Context) -> Arguments:
    del found
    if not base_name(context).startswith("cait_"):
        return {"backbone": _one_of(("resnet18", "wide_resnet50_2"), context)}
    if _size(context) != 448:
        raise UserError(
            "anomalib:uflow needs 448 pixels with its own backbone; set anomalib:uflow.image_size=448, or "
            "anomalib:uflow.backbone=resnet18 for another size."
        )
    return {"backbone": "mcait"}


def _foundad(found: Arguments, context: Context) -> Arguments:
    del found
    name = re.match(r"vit_(small|base|large)_patch(\d+)_(?:reg4_)?(dinov[23])", context.weights.architecture)
    if context.weights.architecture and name is None:
        raise UserError(
            f"anomalib:foundad accepts DINOv2 and DINOv3 transformers, not {context.weights.architecture}; give "
            "--weights published or package."
        )
    encoder = f"{name[3]}_vit_{name[1]}_{name[2]}" if name else "dinov2_vit_base_14"
    return {"encoder_name": encoder, "image_size": _size(context)}


def _general_ad(found: Arguments, context: Context) -> Arguments:
    del found
    name = context.weights.architecture
    depth = 24 if "large" in name else 40 if "giant" in name else 12
    return {"layers": (depth,), "epochs": int(context.params["epochs"]) or 160}


def _super_add(found: Arguments, context: Context) -> Arguments:
    del found
    return {"patch_size": _size(context), "patch_overlap": _patch(context)}


def _glass(found: Arguments, context: Context) -> Arguments:
    del found
    return {"input_shape": (_size(context), _size(context))}


def _ganomaly(found: Arguments, context: Context) -> Arguments:
    del found
    return {"batch_size": int(context.params["batch_size"])}


def _winclip(found: Arguments, context: Context) -> Arguments:
    given, most = str(found["scales"]), _size(context) // 16
    sides = [int(side) if side.strip().isdecimal() else 0 for side in given.split(",")]
    if not all(1 <= side <= most for side in sides):
        raise UserError(
            f"Parameter anomalib:winclip.scales is {given!r}; give integers from 1 to {most} separated by "
            "commas, e.g. anomalib:winclip.scales=2,3."
        )
    return {"class_name": str(found["class_name"]) or None, "scales": tuple(sides)}


SPECIAL: dict[str, Callable[[Arguments, Context], Arguments]] = {
    "padim": _padim,
    "fre": _fre,
    "fastflow": _fastflow,
    "uflow": _uflow,
    "foundad": _foundad,
    "general_ad": _general_ad,
    "super_add": _super_add,
    "glass": _glass,
    "ganomaly": _ganomaly,
    "winclip": _winclip,
}
