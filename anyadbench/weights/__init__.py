"""Named sources of pretrained weights, how they are found, and backbones built from them.

Importing this package, listing ``SOURCES`` and resolving import neither torch nor timm; only reading tensors and
building do.
"""

from __future__ import annotations

from anyadbench.methods.backbones import build_backbone, feature_pyramid, fill_backbone
from anyadbench.weights.resolution import describe, resolve
from anyadbench.weights.resolved import ResolvedWeights
from anyadbench.weights.sources import SOURCES, WeightSource

__all__ = [
    "SOURCES",
    "ResolvedWeights",
    "WeightSource",
    "build_backbone",
    "describe",
    "feature_pyramid",
    "fill_backbone",
    "resolve",
]
