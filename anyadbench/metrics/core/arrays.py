"""Conversion of callers' arrays or torch tensors of maps, masks, scores and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.core.ordered_bits import ScoreError, float32_keys, key_values, require_finite_maps

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64


def to_numpy(values: Any) -> np.ndarray:
    """Return an array; a torch tensor is detached and copied to the host without importing torch here."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
        values = values.numpy()
    return np.asarray(values)


def as_maps(maps: Any) -> Float32[np.ndarray, "n h w"]:
    """Return anomaly maps as a contiguous float32 array of finite values.

    Other number types are rounded to float32, the precision of every pixel metric. A processor that flushes subnormal
    floats does so in this rounding; float32 maps lose nothing.

    Raises:
        UserError: If the array is not slices x height x width.
        ScoreError: If a value is NaN or infinite.
    """
    array = to_numpy(maps)
    if array.ndim != 3:
        raise UserError(f"Anomaly maps have shape {array.shape}; give slices x height x width.")
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_) or np.iscomplexobj(array):
        raise UserError(f"Anomaly maps have type {array.dtype}; give real numbers, preferably float32.")
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(array, dtype=np.float32)
    require_finite_maps(result)
    return result


def as_masks(masks: Any, shape: tuple[int, ...] | None = None) -> Bool[np.ndarray, "n h w"]:
    """Return lesion masks as a contiguous boolean array; in integer masks every non-zero value is lesion.

    Raises:
        UserError: If the shape differs from ``shape``, or a float mask holds values other than 0 and 1.
    """
    array = to_numpy(masks)
    if array.ndim != 3 or (shape is not None and array.shape != shape):
        wanted = "slices x height x width" if shape is None else f"the shape of the maps, {shape}"
        raise UserError(f"Masks have shape {array.shape}; give {wanted}.")
    return np.ascontiguousarray(_as_bool(array, "Masks"))


def as_labels(labels: Any) -> Bool[np.ndarray, " n"]:
    """Return slice labels (true: has a lesion) as a boolean vector.

    Raises:
        UserError: If the labels are not a vector of booleans or of 0 and 1.
    """
    array = to_numpy(labels)
    if array.ndim != 1:
        raise UserError(f"Labels have shape {array.shape}; give one label per slice.")
    return _as_bool(array, "Labels")


def as_scores(scores: Any, count: int | None = None) -> Float64[np.ndarray, " n"]:
    """Return image scores as a float64 vector of finite values.

    Raises:
        UserError: If it is not a vector, or not of length ``count``.
        ScoreError: If a score is NaN or infinite.
    """
    array = to_numpy(scores)
    if array.ndim != 1 or (count is not None and len(array) != count):
        wanted = "one score per slice" if count is None else f"one score for each of the {count} slices"
        raise UserError(f"Image scores have shape {array.shape}; give {wanted}.")
    result = _widen(array)
    bad = np.flatnonzero(~np.isfinite(result)).tolist()
    if bad:
        raise ScoreError("image scores", bad)
    return result


def _widen(array: np.ndarray) -> Float64[np.ndarray, " n"]:
    if array.dtype == np.float32 and np.isfinite(array).all():
        return key_values(float32_keys(np.ascontiguousarray(array)))
    return np.ascontiguousarray(array, dtype=np.float64)


def _as_bool(array: np.ndarray, what: str) -> np.ndarray:
    if array.dtype == np.bool_:
        return array
    positive: np.ndarray = array != 0
    if np.issubdtype(array.dtype, np.integer):
        return positive
    if np.issubdtype(array.dtype, np.floating) and bool((positive == (array == 1)).all()):
        return positive
    raise UserError(f"{what} hold values other than 0 and 1; threshold them first and give booleans.")
