"""Named sources of pretrained weights, and how they are found.

Importing this package, listing ``SOURCES`` and resolving import neither torch nor timm; only reading tensors does.
"""

from __future__ import annotations

from anyadbench.weights.resolution import describe, resolve
from anyadbench.weights.resolved import ResolvedWeights
from anyadbench.weights.sources import SOURCES, WeightSource

__all__ = [
    "SOURCES",
    "ResolvedWeights",
    "WeightSource",
    "describe",
    "resolve",
]
