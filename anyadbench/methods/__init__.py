"""What a method is: a light descriptor, and the class that the descriptor's factory builds.

Importing this package imports no torch; ``Method`` and ``Batch`` are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.methods.params import Param

if TYPE_CHECKING:
    from anyadbench.methods.contract import Batch, Context, Losses, Method, OptimizerSpec, Scores

__all__ = ["Batch", "Context", "Losses", "Method", "MethodDescriptor", "OptimizerSpec", "Param", "Scores"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from anyadbench.methods import contract

        return getattr(contract, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
