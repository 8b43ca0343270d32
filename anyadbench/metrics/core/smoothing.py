"""Resizing and blurring of anomaly maps as two small matrix products.

Upsampling and separable blur are linear, so both fold into one matrix per axis: ``rows @ map @ columns.T``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.errors import UserError
from anyadbench.metrics.core.arrays import to_numpy

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64, Int64

MODES: tuple[str, ...] = ("reflect", "mirror", "nearest", "zero")
"""Values beyond the border: ``reflect`` (d c b a | a b c d), ``mirror`` (d c b | a b c d), ``nearest``, ``zero``."""

INP_SIGMA = 4.0
INP_RADIUS = 2


def resize_matrix(n_in: int, n_out: int) -> Float64[np.ndarray, "n_out n_in"]:
    """Return the matrix of bilinear resizing without aligned corners or anti-aliasing.

    Equals ``torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`` along one axis.

    Raises:
        UserError: If a size is not positive.
    """
    _check_sizes(n_in, n_out)
    source = np.maximum((np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5, 0.0)
    left = np.minimum(np.floor(source).astype(np.int64), n_in - 1)
    share = np.where(left < n_in - 1, source - left, 0.0)
    matrix = np.zeros((n_out, n_in))
    rows = np.arange(n_out)
    matrix[rows, left] = 1.0 - share
    matrix[rows, np.minimum(left + 1, n_in - 1)] += share
    return matrix


def gaussian_matrix(
    n: int, sigma: float, mode: str = "reflect", radius: int | None = None
) -> Float64[np.ndarray, "n n"]:
    """Return the matrix of a Gaussian blur along one axis of n pixels.

    Equals ``scipy.ndimage.gaussian_filter1d`` (modes of the same name; ``zero`` is its ``constant``).

    Args:
        n: Pixels.
        sigma: Standard deviation in pixels.
        mode: One of `MODES`.
        radius: Pixels on each side that the kernel covers; by default four standard deviations, rounded.

    Raises:
        UserError: If an argument is out of range.
    """
    _check_sizes(n)
    if mode not in MODES:
        raise UserError(f"Border mode {mode!r} is unknown; use one of {', '.join(MODES)}.")
    if not sigma > 0 or (radius is not None and radius < 0):
        raise UserError(f"A blur of sigma {sigma} and radius {radius} is impossible; sigma must be above 0.")
    reach = int(4.0 * sigma + 0.5) if radius is None else radius
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    rows = np.repeat(np.arange(n), len(offsets))
    sources, inside = _inside(rows + np.tile(offsets, n), n, mode)
    matrix = np.zeros((n, n))
    np.add.at(matrix, (rows, sources), np.tile(kernel, n) * inside)
    return matrix


def upsample_blur_matrix(
    n_in: int, n_out: int, sigma: float, mode: str = "reflect", radius: int | None = None
) -> Float64[np.ndarray, "n_out n_in"]:
    """Return resizing followed by a Gaussian blur at the new size, folded into one matrix."""
    folded: Float64[np.ndarray, "n_out n_in"] = gaussian_matrix(n_out, sigma, mode, radius) @ resize_matrix(n_in, n_out)
    return folded


def apply_separable(
    maps: Any, rows: np.ndarray, columns: np.ndarray | None = None
) -> Float32[np.ndarray, "n h_out w_out"]:
    """Apply one matrix to the rows and one to the columns of every map, in float32.

    Args:
        maps: N x H x W.
        rows: H_out x H.
        columns: W_out x W; by default the matrix of the rows.

    Raises:
        UserError: If the matrices do not fit the maps.
    """
    array = np.ascontiguousarray(to_numpy(maps), dtype=np.float32)
    across = rows if columns is None else columns
    if array.ndim != 3 or array.shape[1] != rows.shape[1] or array.shape[2] != across.shape[1]:
        raise UserError(
            f"Maps of shape {array.shape} do not fit matrices of shapes {rows.shape} and {across.shape}; "
            "give slices x height x width and matrices for that height and width."
        )
    right = np.ascontiguousarray(across.T, dtype=np.float32)
    half = (array.reshape(-1, array.shape[2]) @ right).reshape(len(array), array.shape[1], len(across))
    result: Float32[np.ndarray, "n h w"] = np.matmul(rows.astype(np.float32), half)
    return result


def resize(maps: Any, height: int, width: int) -> Float32[np.ndarray, "n h_out w_out"]:
    """Resize maps bilinearly (see `resize_matrix`)."""
    array = to_numpy(maps)
    return apply_separable(array, resize_matrix(array.shape[1], height), resize_matrix(array.shape[2], width))


def inpformer_blur(maps: Any) -> Float32[np.ndarray, "n h w"]:
    """Blur maps as INP-Former and AnyAD do: a 5 x 5 Gaussian of sigma 4, with zeros beyond the border.

    The kernel is cut off at half a standard deviation, so it is nearly a box that darkens the border; this is not the
    ``gaussian_filter(sigma=4)`` of RD4AD.
    """
    array = to_numpy(maps)
    return apply_separable(array, _inp_matrix(array.shape[1]), _inp_matrix(array.shape[2]))


@lru_cache(maxsize=8)
def _inp_matrix(n: int) -> Float64[np.ndarray, "n n"]:
    return gaussian_matrix(n, INP_SIGMA, mode="zero", radius=INP_RADIUS)


def _inside(
    positions: Int64[np.ndarray, " k"], n: int, mode: str
) -> tuple[Int64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """Map positions beyond the border to pixels, with weight 0 where there is no pixel."""
    inside = np.ones(len(positions))
    if mode == "zero":
        inside = ((positions >= 0) & (positions < n)).astype(np.float64)
    if mode in ("zero", "nearest") or n == 1:
        return positions.clip(0, n - 1), inside
    period = 2 * n if mode == "reflect" else 2 * n - 2
    folded = positions % period
    return np.where(folded < n, folded, period - folded - (1 if mode == "reflect" else 0)), inside


def _check_sizes(*sizes: int) -> None:
    if min(sizes) < 1:
        raise UserError(f"Map sizes {sizes} must be positive.")
