"""Strict loading of a state dict into a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from anyadbench.errors import UserError


def load_strictly(
    module: nn.Module, state: Mapping[str, Any], what: str, name_in_file: Callable[[str], str] = str
) -> None:
    """Copy ``state`` into ``module``: nothing missing, nothing unused, every shape equal.

    Args:
        module: Network to fill.
        state: Tensors under the module's own names.
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
        wanted, found = tuple(value.shape), tuple(getattr(state[name], "shape", ()))
        if found != wanted or not isinstance(state[name], Tensor):
            raise UserError(
                f"{what} has {name_in_file(name)!r} of shape {found}, but {wanted} is needed; "
                "use weights of the same architecture."
            )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(state[name])
