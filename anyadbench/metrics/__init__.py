"""Every number on a board: exact and streaming metrics, thresholds, post-processing and intervals.

Importing this package loads only the standard library; numpy is imported by the first attribute that needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from anyadbench.metrics.names import METRIC_VERSION, METRICS

if TYPE_CHECKING:
    from anyadbench.metrics.core.components import component_areas, components
    from anyadbench.metrics.core.evaluation import evaluate, undefined_reasons
    from anyadbench.metrics.core.exact import PixelStats
    from anyadbench.metrics.core.image import image_metrics, lesion_size_metrics, top_fraction_mean
    from anyadbench.metrics.core.ordered_bits import ScoreError
    from anyadbench.metrics.core.ranking import Steps
    from anyadbench.metrics.core.streaming import PixelState
    from anyadbench.metrics.core.thresholds import at_threshold, threshold_from_normals
    from anyadbench.metrics.intervals.bootstrap import PairedEffect, holm, paired_bootstrap, subject_bootstrap

_HOMES = {
    "PairedEffect": "intervals.bootstrap",
    "PixelState": "core.streaming",
    "PixelStats": "core.exact",
    "ScoreError": "core.ordered_bits",
    "Steps": "core.ranking",
    "at_threshold": "core.thresholds",
    "component_areas": "core.components",
    "components": "core.components",
    "evaluate": "core.evaluation",
    "holm": "intervals.bootstrap",
    "image_metrics": "core.image",
    "lesion_size_metrics": "core.image",
    "paired_bootstrap": "intervals.bootstrap",
    "subject_bootstrap": "intervals.bootstrap",
    "threshold_from_normals": "core.thresholds",
    "top_fraction_mean": "core.image",
    "undefined_reasons": "core.evaluation",
}

__all__ = [
    "METRICS",
    "METRIC_VERSION",
    "PairedEffect",
    "PixelState",
    "PixelStats",
    "ScoreError",
    "Steps",
    "at_threshold",
    "component_areas",
    "components",
    "evaluate",
    "holm",
    "image_metrics",
    "lesion_size_metrics",
    "paired_bootstrap",
    "subject_bootstrap",
    "threshold_from_normals",
    "top_fraction_mean",
    "undefined_reasons",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))
