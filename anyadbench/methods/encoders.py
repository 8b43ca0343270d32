"""Whether an encoder that the user names suits a method, as far as names and numbers decide it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from anyadbench.errors import UserError
from anyadbench.methods.params import Value
from anyadbench.weights.encoders import ENCODERS, patch_of, source_named

if TYPE_CHECKING:
    from anyadbench.methods.descriptor import MethodDescriptor


def check_encoder(descriptor: MethodDescriptor, params: Mapping[str, Value]) -> None:
    """Refuse an encoder that does not exist, or that a method with the parameter ``encoder`` cannot use.

    Raises:
        UserError: If the name is unknown, the network is of another kind than the method's own, or its patch does not
            divide the image size.
    """
    chosen = descriptor.encoder(params)
    if chosen == "profile":
        return
    setting = f"{descriptor.name}.{descriptor.encoder_param}={chosen}"
    if chosen.startswith("file:"):
        raise UserError(f"{setting} names a file; name the network here, and pass the file as --weights {chosen}.")
    # A name of the method's own may mean another source in each profile, but one network.
    names = {name for name in descriptor.weights_for(params).values() if name is not None}
    patches = {patch_of(source_named(name).architecture) for name in names}
    if descriptor.encoder_param != "encoder":
        return
    own = {patch_of(source_named(name).architecture) for name in descriptor.weights.values() if name is not None}
    if any(own) and not any(patches):
        raise UserError(
            f"{setting} is a convolutional network, but {descriptor.name} needs the patch tokens of a transformer; "
            f"choose e.g. {_example(transformer=True)} ('anyadbench encoders' lists all)."
        )
    if any(patches) and not any(own):
        raise UserError(
            f"{setting} is a transformer, but {descriptor.name} needs the feature maps of a convolutional network; "
            f"choose e.g. {_example(transformer=False)} ('anyadbench encoders' lists all)."
        )
    for patch in patches:
        _check_patch(descriptor, params, setting, patch)


def _check_patch(descriptor: MethodDescriptor, params: Mapping[str, Value], setting: str, patch: int) -> None:
    size = params.get("image_size")
    if not patch or not isinstance(size, int) or size % patch == 0:
        return
    allowed = next((param.multiple_of for param in descriptor.params if param.name == "image_size"), 0)
    step = math.lcm(patch, allowed or 1)
    raise UserError(
        f"{setting} has patches of {patch} pixels, which do not divide image_size {size}; add --set "
        f"{descriptor.name}.image_size={max(round(size / step), 1) * step}."
    )


def _example(*, transformer: bool) -> str:
    return next(name for name, source in ENCODERS.items() if bool(patch_of(source.architecture)) == transformer)
