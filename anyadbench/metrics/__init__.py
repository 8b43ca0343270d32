"""Every number on a board: exact and streaming metrics, thresholds, post-processing and intervals.

Importing this package loads nothing but the standard library; numpy comes with the first attribute that needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anyadbench.metrics.bootstrap import PairedEffect, holm, paired_bootstrap, subject_bootstrap
    from anyadbench.metrics.evaluation import evaluate, undefined_reasons
    from anyadbench.metrics.exact import PixelStats
    from anyadbench.metrics.image import image_metrics, lesion_size_metrics, top_fraction_mean
    from anyadbench.metrics.keys import ScoreError
    from anyadbench.metrics.labels import component_areas, components
    from anyadbench.metrics.steps import Steps
    from anyadbench.metrics.streaming import PixelState
    from anyadbench.metrics.thresholds import at_threshold, threshold_from_normals

METRIC_VERSION = "2"
"""Stamped into results; it changes with any change of a definition or of a value.

Version 2 groups the steps of subjects by lesion pixels instead of fixed bins (intervals), draws subjects from the whole
test set, and adds metrics by lesion size.
"""

METRICS: tuple[str, ...] = (
    "image_auroc",
    "image_ap",
    "image_f1",
    "pixel_auroc",
    "pixel_ap",
    "pixel_f1",
    "aupro",
    "dice",
)
"""Names of the metrics, in the order of the boards."""

_HOMES = {
    "PairedEffect": "bootstrap",
    "PixelState": "streaming",
    "PixelStats": "exact",
    "ScoreError": "keys",
    "Steps": "steps",
    "at_threshold": "thresholds",
    "component_areas": "labels",
    "components": "labels",
    "evaluate": "evaluation",
    "holm": "bootstrap",
    "image_metrics": "image",
    "lesion_size_metrics": "image",
    "paired_bootstrap": "bootstrap",
    "subject_bootstrap": "bootstrap",
    "threshold_from_normals": "thresholds",
    "top_fraction_mean": "image",
    "undefined_reasons": "evaluation",
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
