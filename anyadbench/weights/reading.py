"""Reading weight files of every kind into timm's naming. Nothing here runs code from a file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anyadbench.errors import UserError
from anyadbench.names import plain_path
from anyadbench.weights.naming import SAM, architecture_shapes, check_state, to_timm_names
from anyadbench.weights.wrappers import check_finite, find_prefix, unwrapped, without_wrappers

if TYPE_CHECKING:
    from anyadbench.weights.resolved import ResolvedWeights


def read_state(resolved: ResolvedWeights) -> dict[str, Tensor]:
    """Read the tensors of resolved weights, checked against their architecture.

    Raises:
        UserError: If the file is damaged, refused, or does not fit.
    """
    path = Path(str(resolved.path))
    if resolved.kind == "package" and path.suffix == ".onnx":
        from anyadbench.weights.onnx_vit import read_onnx_vit

        state = read_onnx_vit(path)
    elif resolved.kind == "package" and resolved.architecture.startswith("tf_efficientnet_lite"):
        state = _rename_by_order(read_tensors(path), resolved.architecture, str(path))
    else:
        state, where = _unprefixed(read_tensors(path), resolved.architecture, str(path))
        return check_state(to_timm_names(state), resolved.architecture, where)
    return check_state(state, resolved.architecture, str(path))


def _unprefixed(state: dict[str, Tensor], architecture: str, where: str) -> tuple[dict[str, Tensor], str]:
    """Return the tensors under the one prefix that the architecture's names have, and the file for messages."""
    prefix = find_prefix(state, architecture_shapes(architecture).keys(), where, architecture)
    prefix = prefix.removesuffix(SAM) if prefix.endswith(SAM) else prefix
    if not prefix:
        return state, where
    inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return inside, f"{where} (under the prefix {prefix!r})"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, or a torch file of tensors and plain values only; the content decides which it is.

    The tensors may be in the tables, and have the prefixes, that training programs put around a network.

    Raises:
        UserError: If it is neither, is truncated, would have to run code, holds several networks, or NaN or infinity.
    """
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:9] == b"{":
        state = without_wrappers(_read_safetensors(path))
    elif head[:2] == b"PK" or head[:1] == b"\x80":
        state = _read_torch(path)
    else:
        raise _other_kind(path)
    check_finite(state, str(path))
    return state


def _other_kind(path: Path) -> UserError:
    return UserError(
        f"{path} is neither a safetensors nor a torch file; pass a .safetensors or .pth file with weights."
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with plain_path(path) as plain:
            return load_file(plain)
    except SafetensorError as error:
        raise UserError(f"{path} is a damaged safetensors file ({error}); copy or download it again.") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        with plain_path(path) as plain:
            loaded = torch.load(plain, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds Python objects, not only tensors, or is cut short; reading it could run any code, so save "
            "its state_dict alone (best as .safetensors) or copy it again."
        ) from error
    # A damaged stream raises whatever error its break causes: EOFError, struct.error, IndexError, RuntimeError, ...
    except Exception as error:
        raise UserError(
            f"{path} cannot be read as a torch file of tensors; it is cut short or of another kind, so copy or "
            "download it again."
        ) from error
    return unwrapped(loaded, str(path))


def _rename_by_order(state: Mapping[str, Tensor], architecture: str, where: str) -> dict[str, Tensor]:
    """Give tensors the names of an architecture that lists the same ones in the same order (heads last).

    The kind of each tensor (``weight``, ``running_var``, ...) must agree; shapes are checked by the caller.
    """
    names = [*architecture_shapes(architecture), "classifier.weight", "classifier.bias"]
    if len(names) != len(state):
        raise UserError(
            f"{where} has {len(state)} tensors, but {architecture} has {len(names)}; reinstall the package."
        )
    for old, new in zip(state, names, strict=True):
        if old.rpartition(".")[2] != new.rpartition(".")[2]:
            raise UserError(f"{where} has {old!r} where {architecture} has {new!r}; reinstall the package.")
    return dict(zip(names, state.values(), strict=True))
