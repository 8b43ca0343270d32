"""Prediction for one new patient: a finished cell applied to scans in their own geometry.

Importing this package imports neither numpy nor torch; its functions are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anyadbench.predict.prediction import Prediction, SliceScore
    from anyadbench.predict.predictor import Predictor, load

__all__ = ["Prediction", "Predictor", "SliceScore", "load"]


def __getattr__(name: str) -> Any:
    if name in ("Predictor", "load"):
        from anyadbench.predict import predictor

        return getattr(predictor, name)
    if name in ("Prediction", "SliceScore"):
        from anyadbench.predict import prediction

        return getattr(prediction, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
