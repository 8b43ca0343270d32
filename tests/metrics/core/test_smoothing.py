"""Resizing and blurring by matrices, compared with torch and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from anyadbench.errors import UserError
from anyadbench.metrics.core import smoothing

MAPS = np.random.default_rng(0).random((3, 14, 18)).astype(np.float32)


@pytest.mark.parametrize("size", [(28, 36), (50, 41), (7, 5), (14, 18), (1, 1)])
def test_resizing_equals_torch(size: tuple[int, int]) -> None:
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(MAPS)[:, None], size=size, mode="bilinear", align_corners=False
    )[:, 0].numpy()
    assert np.abs(smoothing.resize(MAPS, *size) - expected).max() < 1e-6


def test_resizing_from_one_pixel_repeats_it() -> None:
    assert smoothing.resize_matrix(1, 3).tolist() == [[1.0], [1.0], [1.0]]


@pytest.mark.parametrize("mode", smoothing.MODES)
@pytest.mark.parametrize("sigma", [0.7, 4.0])
def test_blurring_equals_scipy(mode: str, sigma: float) -> None:
    name = "constant" if mode == "zero" else mode
    expected = np.stack([gaussian_filter(image.astype(np.float64), sigma, mode=name) for image in MAPS])
    rows, columns = smoothing.gaussian_matrix(14, sigma, mode), smoothing.gaussian_matrix(18, sigma, mode)
    assert np.abs(smoothing.apply_separable(MAPS, rows, columns) - expected).max() < 1e-6


def test_folded_upsampling_and_blur_equals_one_after_the_other() -> None:
    large = smoothing.resize(MAPS, 56, 72)
    expected = np.stack([gaussian_filter(image, 4) for image in large])
    rows = smoothing.upsample_blur_matrix(14, 56, 4.0)
    columns = smoothing.upsample_blur_matrix(18, 72, 4.0)
    assert np.abs(smoothing.apply_separable(MAPS, rows, columns) - expected).max() < 1e-6


def test_the_inpformer_kernel_is_five_by_five_with_zeros_outside() -> None:
    offsets = torch.arange(5) - 2.0
    kernel = torch.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 4.0**2))
    kernel = (kernel / kernel.sum())[None, None]
    expected = torch.nn.functional.conv2d(torch.from_numpy(MAPS)[:, None], kernel, padding=2)
    assert np.abs(smoothing.inpformer_blur(MAPS) - expected[:, 0].numpy()).max() < 1e-6


def test_square_maps_need_one_matrix() -> None:
    square = MAPS[:, :, :14]
    matrix = smoothing.gaussian_matrix(14, 1.0)
    assert np.array_equal(smoothing.apply_separable(square, matrix), smoothing.apply_separable(square, matrix, matrix))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: smoothing.resize_matrix(0, 4), "must be positive"),
        (lambda: smoothing.gaussian_matrix(4, 1.0, mode="wrap"), "'wrap' is unknown; use one of reflect"),
        (lambda: smoothing.gaussian_matrix(4, 0.0), "sigma must be above 0"),
        (lambda: smoothing.apply_separable(MAPS, np.eye(3)), "do not fit matrices"),
    ],
)
def test_wrong_input_is_refused(call: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        call()  # type: ignore[operator]
