"""What training programs put around the tensors of a network: tables in tables, and prefixes of names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from anyadbench.errors import UserError

_ADDED = ("module.", "_orig_mod.", "_forward_module.")
"""Prefixes of ``DataParallel``, ``torch.compile`` and Lightning Fabric, which belong to no network."""

_OTHERS = re.compile(r"optim|sched|scaler|loss|criterion|callback|loop|hyper", re.IGNORECASE)
"""Entries of a checkpoint that are tables of tensors, but no network."""

_DEPTH = 3


def unwrapped(loaded: Any, where: str) -> dict[str, Tensor]:
    """Return the only table of tensors in a loaded checkpoint, without the prefixes of wrappers.

    Args:
        loaded: What the file holds: a state dict, or one in ``{"state_dict": …}``, ``{"teacher": …}`` and the like.
        where: The file, for messages.

    Raises:
        UserError: If there is none, or several.
    """
    tables = _tables(loaded, "", _DEPTH)
    if not tables:
        raise UserError(f"{where} is a torch file without a state dict; save the model's state_dict and pass that.")
    if len(tables) > 1:
        names = " and ".join(repr(name) for name in tables)
        raise UserError(f"{where} holds several networks, {names}; save the state_dict of one of them and pass that.")
    return without_wrappers(next(iter(tables.values())))


def _tables(loaded: Any, path: str, depth: int) -> dict[str, dict[str, Tensor]]:
    """Return every table of tensors by the path of its keys."""
    if not isinstance(loaded, Mapping):
        return {}
    found: dict[str, dict[str, Tensor]] = {}
    if depth:
        for key, value in loaded.items():
            if isinstance(key, str) and not _OTHERS.search(key):
                found |= _tables(value, f"{path}.{key}" if path else key, depth - 1)
    if found:
        return found
    own = {str(key): value for key, value in loaded.items() if isinstance(value, Tensor) and isinstance(key, str)}
    return {path: own} if own else {}


def without_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors without the prefixes of wrappers, if all of them have it."""
    named = {key.replace("._orig_mod.", "."): value for key, value in state.items()}
    while (added := next((one for one in _ADDED if named and all(key.startswith(one) for key in named)), None)) and all(
        len(key) > len(added) for key in named
    ):
        named = {key.removeprefix(added): value for key, value in named.items()}
    return named


def find_prefix(state: Mapping[str, Tensor], names: Collection[str], where: str, what: str) -> str:
    """Return the prefix under which a file has the tensors of a network, empty if it has them as they are.

    Args:
        state: The file's tensors.
        names: Names of the network's tensors.
        where: The file, for messages.
        what: The network, for messages.

    Raises:
        UserError: If two prefixes fit equally well.
    """
    counts: Counter[str] = Counter()
    for key in state:
        cut = 0
        while True:
            if key[cut:] in names:
                counts[key[:cut]] += 1
            cut = key.find(".", cut) + 1
            if not cut:
                break
    if not counts:
        return ""
    most = max(counts.values())
    best = sorted(prefix for prefix, count in counts.items() if count > 0.9 * most)
    if "" in best or most < len(names) / 2:
        return ""
    if len(best) > 1:
        listed = " and ".join(repr(prefix) for prefix in best)
        raise UserError(f"{where} holds {what} several times, under {listed}; save the tensors of one of them alone.")
    return best[0]


def check_finite(state: Mapping[str, Tensor], where: str) -> None:
    """Check that no tensor holds NaN or infinity; masks may hold infinity.

    Raises:
        UserError: Naming the first tensor that does.
    """
    for name, tensor in state.items():
        if not tensor.is_floating_point() or tensor.layout != torch.strided:
            continue
        values = tensor if tensor.element_size() > 1 else tensor.float()
        bad = values.isnan() if "mask" in name else ~values.isfinite()
        count = int(bad.sum())
        if count:
            kind = "NaN" if bool(values.isnan().any()) else "infinity"
            raise UserError(
                f"{where}: the tensor {name!r} holds {kind} in {count} of {values.numel()} values; the training that "
                "wrote the file diverged, or the file is damaged, so pass another one."
            )
