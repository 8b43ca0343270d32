"""Frozen weights held in the precision of autocast, which otherwise casts them at every call.

Autocast keeps a cast weight until the end of a step only if the weight takes a gradient. A frozen encoder's linear
layers are therefore cast again in every pass, some 160 casts in a step of AnyAD. The copies hold what autocast would
compute, so results are equal to the bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anyadbench.methods.freezing import is_frozen

if TYPE_CHECKING:
    from anyadbench.engine.numerics import Policy

_WEIGHT, _BIAS = "_cast_weight", "_cast_bias"


class _Cast:
    """A layer with copies of its weight and bias; without autocast it uses the originals."""

    def _held(self: nn.Module) -> tuple[Tensor, Tensor | None]:  # type: ignore[misc]
        weight, copy = self.get_parameter("weight"), self.get_buffer(_WEIGHT)
        kind = weight.device.type
        if torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == copy.dtype:
            return copy, self._buffers[_BIAS]
        return weight, self._parameters["bias"]


class CastLinear(_Cast, nn.Linear):
    """A frozen ``nn.Linear``."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer."""
        return F.linear(input, *self._held())


class CastConv2d(_Cast, nn.Conv2d):
    """A frozen ``nn.Conv2d``."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer."""
        return self._conv_forward(input, *self._held())


_KINDS: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: CastLinear, nn.Conv2d: CastConv2d}


def hold_frozen(module: nn.Module, policy: Policy) -> int:
    """Give every frozen linear and convolutional layer a copy of its weights in the policy's precision.

    Call it once the weights are loaded: a later change of a frozen weight would not reach the copy. Layers of other
    classes, subclasses included, are left to autocast. A second call renews the copies.

    Args:
        module: A method on its device.
        policy: Numeric policy; ``float32`` needs no copies.

    Returns:
        The number of layers that hold copies.
    """
    if policy.dtype == "float32":
        return 0
    dtype, held = getattr(torch, policy.dtype), 0
    for part in module.modules():
        kind = _KINDS.get(type(part), type(part))
        if not is_frozen(part) or not issubclass(kind, _Cast):
            continue
        part.__class__ = kind
        for name, value in ((_WEIGHT, part._parameters["weight"]), (_BIAS, part._parameters["bias"])):
            part.register_buffer(name, None if value is None else value.detach().to(dtype), persistent=False)
        held += 1
    return held
