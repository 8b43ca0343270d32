"""Reading weight files of every kind into timm's naming. Nothing here runs code from a file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anyadbench.errors import UserError
from anyadbench.weights.naming import architecture_shapes, check_state, to_timm_names

if TYPE_CHECKING:
    from anyadbench.weights.resolved import ResolvedWeights

_WRAPPERS = ("state_dict", "model")


def read_state(resolved: ResolvedWeights) -> dict[str, Tensor]:
    """Read the tensors of resolved weights, checked against their architecture.

    Raises:
        UserError: If the file is damaged, refused, or does not fit.
    """
    path = Path(str(resolved.path))
    if resolved.kind == "package" and path.suffix == ".onnx":
        from anyadbench.weights.onnx_vit import read_onnx_vit

        state = read_onnx_vit(path)
    elif resolved.name == "efficientnet-lite0-package":
        state = _rename_by_order(read_tensors(path), resolved.architecture, str(path))
    else:
        state = to_timm_names(read_tensors(path))
    return check_state(state, resolved.architecture, str(path))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, or a torch file of tensors and plain values only; the content decides which it is.

    Raises:
        UserError: If it is neither, is truncated, or would have to run code.
    """
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:9] == b"{":
        return _read_safetensors(path)
    if head[:2] == b"PK" or head[:1] == b"\x80":
        return _read_torch(path)
    raise UserError(f"{path} is neither a safetensors nor a torch file; pass a .safetensors or .pth file with weights.")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path} is a damaged safetensors file ({error}); copy or download it again.") from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
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
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise UserError(f"{path} is a torch file without a state dict; save the model's state_dict and pass that.")
    return {str(key): value for key, value in loaded.items()}


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
