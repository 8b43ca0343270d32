"""Prediction for one new patient: a finished cell applied to scans in their own geometry.

Importing this package imports neither numpy nor torch; its functions are loaded on first use.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from anyadbench.errors import UserError

if TYPE_CHECKING:
    from anyadbench.predict.prediction import Prediction, SliceScore
    from anyadbench.predict.predictor import Predictor, load

__all__ = ["Prediction", "Predictor", "SliceScore", "load"]


def check_packages(kind: str) -> None:
    """Check that the packages that an export needs are installed; imports none of them.

    Args:
        kind: ``onnx`` or ``torchscript``.

    Raises:
        UserError: If one is missing.
    """
    needed = [module for module in ("onnxscript", "onnxruntime") if kind == "onnx" and find_spec(module) is None]
    if needed:
        raise UserError(f"--format onnx needs {needed[0]}: 'pip install anyadbench[export]', or use torchscript.")


def __getattr__(name: str) -> Any:
    if name in ("Predictor", "load"):
        from anyadbench.predict import predictor

        return getattr(predictor, name)
    if name in ("Prediction", "SliceScore"):
        from anyadbench.predict import prediction

        return getattr(prediction, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
