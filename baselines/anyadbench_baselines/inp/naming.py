"""State dicts in the authors' and timm's naming, and strict loading."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from anyadbench.errors import UserError


def fold_class_position(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return an encoder state with the class token's position added to the token and removed from the table.

    A table without that position, as timm stores DINOv2 with registers, is square and left alone. DINOv2 reads its
    positions in single precision, whatever the precision of the rest.
    """
    folded, table = dict(state), state["pos_embed"].float()
    if math.isqrt(table.shape[1]) ** 2 != table.shape[1]:
        folded["cls_token"] = state["cls_token"] + table[:, :1]
        folded["pos_embed"] = table[:, 1:]
    return folded


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a whole INP-Former or AnyAD state dict, or one of Meta's DINOv2 below ``encoder.``, to ours.

    DINOv2's mask token is used only in pretraining and is dropped.
    """
    encoder = {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
    trained = {name: value for name, value in state.items() if not name.startswith("encoder.")}
    encoder.pop("mask_token", None)
    if "register_tokens" in encoder:
        encoder["reg_token"] = encoder.pop("register_tokens")
    if {"pos_embed", "cls_token"} <= set(encoder):
        encoder = fold_class_position(encoder)
    return trained | {f"encoder.vit.{name}": value for name, value in encoder.items()}


def published_encoder(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder of a whole published state dict in timm's naming.

    Raises:
        UserError: If it lacks the entries that determine the encoder's sizes.
    """
    prefix = "encoder.vit."
    renamed = from_published(single_state(state))
    encoder = {name.removeprefix(prefix): value for name, value in renamed.items() if name.startswith(prefix)}
    for name in ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight"):
        if name not in encoder:
            raise UserError(
                f"The published checkpoint lacks {'encoder.' + name!r}; give the whole state dict that the authors' "
                "training saves, encoder included."
            )
    return encoder


def published_name(name: str) -> str:
    """Return the authors' name for one of our entries."""
    return name.replace("encoder.vit.", "encoder.").replace("reg_token", "register_tokens")


def single_state(states: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the one state dict in a checkpoint: the mapping itself, or its only entry ``model``.

    Raises:
        UserError: If there are other parts, or an entry is not a tensor.
    """
    inner = states["model"] if set(states) == {"model"} else states
    wrong = [name for name, value in inner.items() if not isinstance(value, Tensor)] if inner else ["(nothing)"]
    if wrong:
        raise UserError(
            f"The published checkpoint contains {wrong[0]!r}, which is not a tensor; give the state dict that "
            "the authors' training saves, or a mapping with that state dict under 'model'."
        )
    return dict(inner)


def load_strictly(
    module: nn.Module, state: Mapping[str, Tensor], what: str, name_in_file: Callable[[str], str] = str
) -> None:
    """Copy ``state`` into ``module``: nothing missing, nothing unused, every shape equal.

    Args:
        module: Network to fill.
        state: Values under the module's own names.
        what: Beginning of the error sentence.
        name_in_file: Maps such a name to its name in the user's file.

    Raises:
        UserError: One sentence that begins with ``what`` and names the first entry that does not fit.
    """
    own = module.state_dict()
    missing, extra = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    if missing:
        raise UserError(
            f"{what} lacks {name_in_file(missing[0])!r} ({len(missing)} missing); give a complete checkpoint, or set "
            "the method's parameters (e.g. registers) to match the checkpoint."
        )
    if extra:
        raise UserError(
            f"{what} has {name_in_file(extra[0])!r}, which this network does not have ({len(extra)} unused); "
            "check that the method and its parameters (e.g. registers) match the checkpoint."
        )
    for name, value in own.items():
        wanted, found = tuple(value.shape), tuple(state[name].shape)
        if found != wanted:
            raise UserError(
                f"{what} has {name_in_file(name)!r} of shape {found}, but {wanted} is needed; "
                "use weights of the same architecture."
            )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(state[name])
