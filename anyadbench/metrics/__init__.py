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
    from anyadbench.metrics.intervals.from_states import paired_tests, subject_intervals
    from anyadbench.metrics.intervals.interval import Interval
    from anyadbench.metrics.intervals.paired import Paired, step_down

_HOMES = {
    "Interval": "intervals.interval",
    "Paired": "intervals.paired",
    "PixelState": "core.streaming",
    "PixelStats": "core.exact",
    "ScoreError": "core.ordered_bits",
    "Steps": "core.ranking",
    "at_threshold": "core.thresholds",
    "component_areas": "core.components",
    "components": "core.components",
    "evaluate": "core.evaluation",
    "image_metrics": "core.image",
    "lesion_size_metrics": "core.image",
    "paired_tests": "intervals.from_states",
    "step_down": "intervals.paired",
    "subject_intervals": "intervals.from_states",
    "threshold_from_normals": "core.thresholds",
    "top_fraction_mean": "core.image",
    "undefined_reasons": "core.evaluation",
}

__all__ = [
    "METRICS",
    "METRIC_VERSION",
    "Interval",
    "Paired",
    "PixelState",
    "PixelStats",
    "ScoreError",
    "Steps",
    "at_threshold",
    "component_areas",
    "components",
    "evaluate",
    "image_metrics",
    "lesion_size_metrics",
    "paired_tests",
    "step_down",
    "subject_intervals",
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
