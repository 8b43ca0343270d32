"""From the authors' tensor names to timm's, and the strict check of tensors against an architecture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from anyadbench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

HEADS: tuple[str, ...] = ("fc.", "classifier.", "head.", "mask_token")
"""Prefixes of what a file may have besides the backbone: classification heads, and the token of masked training."""

COUNTER = "num_batches_tracked"
"""Batch-norm's count of training steps. Old torchvision files lack it, and nothing computed here reads it."""

SAM = "image_encoder."
"""Prefix of the image encoder in Meta's Segment Anything."""


SIGLIP = "vision_model."
"""Prefix of the image encoder of SigLIP in ``transformers``."""

_SIGLIP_NAMES = (
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^encoder\.layers\.(\d+)\.layer_norm", r"blocks.\1.norm"),
    (r"^encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layers\.(\d+)\.", r"blocks.\1."),
    (r"^post_layernorm\.", "norm."),
)


def _from_siglip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return SigLIP's tensors under timm's names: query, key and value become one tensor, in this order."""
    import torch

    named: dict[str, Tensor] = {}
    for key, value in state.items():
        for pattern, new in _SIGLIP_NAMES:
            key = re.sub(pattern, new, key)
        named[key] = value[None] if key == "pos_embed" and value.ndim == 2 else value
    for query in [key for key in named if ".self_attn.q_proj." in key]:
        parts = [query.replace(".q_proj.", f".{part}_proj.") for part in "qkv"]
        if all(part in named for part in parts):
            named[query.replace(".self_attn.q_proj.", ".attn.qkv.")] = torch.cat([named.pop(part) for part in parts])
    return named


def to_timm_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under timm's names.

    Recognises by their names Meta's DINOv2 with registers (``register_tokens``) and Meta's Segment Anything
    (``image_encoder.*``), and the image encoder of SigLIP in the naming of ``transformers`` (``vision_model.*``); all
    other files are read as timm's own naming. Meta's DINOv2 without registers (except for
    ``mask_token``, which ``check_state`` leaves out) and torchvision's ResNets use it too.

    With registers, timm adds the position table to the patches only: the class token's row of the table is added to
    the token itself here, which gives the same sum.
    """
    if f"{SAM}patch_embed.proj.weight" in state:
        encoder = {key.removeprefix(SAM): value for key, value in state.items() if key.startswith(SAM)}
        return {re.sub(r"\.mlp\.lin([12])\.", r".mlp.fc\1.", key): value for key, value in encoder.items()}
    if f"{SIGLIP}embeddings.patch_embedding.weight" in state:
        return _from_siglip({key.removeprefix(SIGLIP): value for key, value in state.items() if key.startswith(SIGLIP)})
    named = dict(state)
    if {"register_tokens", "cls_token", "pos_embed"} <= named.keys():
        table = named.pop("pos_embed")
        named["reg_token"] = named.pop("register_tokens")
        named["cls_token"] = named["cls_token"] + table[:, :1]
        named["pos_embed"] = table[:, 1:]
    return named


@lru_cache(maxsize=16)
def architecture_shapes(architecture: str) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor of a timm backbone without its head; nothing is allocated."""
    import timm
    import torch

    with torch.device("meta"):
        model = timm.create_model(architecture, pretrained=False, num_classes=0)
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


def check_state(state: Mapping[str, Tensor], architecture: str, where: str) -> dict[str, Tensor]:
    """Return exactly the backbone's tensors, floating-point ones as float32, in the architecture's order.

    Tensors of ``HEADS`` are left out, a missing ``COUNTER`` becomes 0; nothing else may be missing or left
    over.

    Args:
        state: Tensors in timm's naming.
        architecture: timm model name.
        where: The file, for messages.

    Raises:
        UserError: If a tensor is missing, left over, or has another shape.
    """
    import torch

    from anyadbench.weights.wrappers import check_finite

    shapes = architecture_shapes(architecture)
    missing = [key for key in shapes if key not in state and not key.endswith(COUNTER)]
    if missing:
        raise UserError(f"{where} lacks {_first(missing)} of {architecture}; {_FIX}")
    left = [key for key in state if key not in shapes and not key.startswith(HEADS)]
    if left:
        raise UserError(f"{where} has {_first(left)} that {architecture} does not know; {_FIX}")
    checked: dict[str, Tensor] = {}
    for key, shape in shapes.items():
        tensor = state[key] if key in state else torch.zeros((), dtype=torch.int64)
        if tuple(tensor.shape) != shape:
            raise UserError(
                f"{where}: the tensor {key!r} has shape {tuple(tensor.shape)}, but {architecture} needs {shape}; {_FIX}"
            )
        # Published files may be float16 (torchvision's wide_resnet50_2-95faca4d is); float32 holds them exactly.
        checked[key] = tensor.to(torch.float32) if tensor.is_floating_point() else tensor
        if tensor.dtype == torch.float64:
            check_finite({key: checked[key]}, f"{where}, as float32")
    return checked


_FIX = "give the whole weights of that architecture, with the names of timm, torchvision or Meta."


def _first(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"the tensor {names[0]!r}{more}"
