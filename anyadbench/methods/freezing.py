"""Pretrained networks that a method does not train: fixed while it trains, and never stored with its cells."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)

_FIXED, _EXCLUDED = "_anyadbench_fixed", "_anyadbench_excluded"


def freeze(module: Module) -> Module:
    """Fix a pretrained network: no gradients, eval mode for good, and no copy of its tensors in a cell.

    A ``Method`` puts a frozen part of it back into eval mode whenever it is itself put into training mode, so that
    batch norm keeps the statistics of the pretraining. Its tensors come from the pretrained weights again when a cell
    is loaded.

    Args:
        module: A part of a method, whose tensors follow from the context's weights alone. Its own parts are frozen
            with it.

    Returns:
        The same module, in eval mode.
    """
    module.requires_grad_(False)
    module.eval()
    for part in module.modules():
        setattr(part, _FIXED, True)
    return exclude_from_cells(module)


def exclude_from_cells(module: Module) -> Module:
    """Store no tensor of a module with a cell; its gradients and its mode are left alone.

    For a network that follows from the context's weights but whose own code switches gradients and modes; any other
    one is for ``freeze``.
    """
    for part in module.modules():
        setattr(part, _EXCLUDED, True)
    return module


def is_frozen(module: nn.Module) -> bool:
    """Return whether ``freeze`` has fixed a module."""
    return bool(getattr(module, _FIXED, False))


def is_excluded(module: nn.Module) -> bool:
    """Return whether a module's tensors are left out of cells."""
    return bool(getattr(module, _EXCLUDED, False))


def keep_fixed(module: nn.Module) -> None:
    """Put every frozen part of a module into eval mode."""
    for part in module.modules():
        if is_frozen(part):
            part.training = False


def excluded_names(module: nn.Module) -> set[str]:
    """Return the names of a module's state-dict entries that are not stored with a cell."""
    # A part may be registered under two names.
    named = module.named_modules(remove_duplicate=False)
    prefixes = tuple(f"{name}." for name, part in named if is_excluded(part))
    return {name for name in module.state_dict() if name.startswith(prefixes)}
