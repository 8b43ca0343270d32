"""Resizing and cropping as in the AnyAD release's loader."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from anyadbench.data.slices.geometry import apply_geometry, apply_to_masks, grid_after
from anyadbench.data.slices.rules import GeometryRules

RELEASE = GeometryRules((448, 448), (392, 392))


def pictures(side: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.integers(0, 256, (2, 3, side, side)) / np.float32(255)).astype(np.float32)


@pytest.mark.parametrize("side", [240, 181, 512])
def test_eight_bit_slices_become_what_the_releases_transforms_make_of_them(side: int) -> None:
    from PIL import Image

    values = pictures(side)
    out = apply_geometry(values, RELEASE, eight_bit=True)
    transform = v2.Compose([v2.Resize((448, 448)), v2.CenterCrop(392)])
    colour = Image.fromarray(np.rint(values[0] * 255).astype(np.uint8).transpose(1, 2, 0))
    expected = np.asarray(transform(colour)).transpose(2, 0, 1)
    np.testing.assert_array_equal(np.rint(out[0] * 255), expected)


def test_other_slices_are_not_rounded() -> None:
    values = pictures(24) * np.float32(0.3)
    out = apply_geometry(values, GeometryRules((48, 48)))
    expected = torch.nn.functional.interpolate(torch.from_numpy(values), (48, 48), mode="bilinear")
    np.testing.assert_allclose(out, expected.numpy(), atol=1e-6)


def test_the_crop_keeps_the_middle_and_a_hidden_slice_stays_zero() -> None:
    values = np.zeros((1, 2, 6, 8), np.float32)
    values[0, 0, 2:4, 3:5] = 1
    out = apply_geometry(values, GeometryRules(crop=(2, 2)))
    assert out.shape == (1, 2, 2, 2) and (out[0, 0] == 1).all() and not out[0, 1].any()


def test_a_lesion_in_the_margin_vanishes_from_the_mask() -> None:
    masks = np.zeros((2, 240, 240), bool)
    masks[0, 3:12, 100:140] = True
    masks[1, 100:140, 100:140] = True
    out = apply_to_masks(masks, RELEASE)
    assert out.shape == (2, 392, 392) and not out[0].any() and out[1].sum() == pytest.approx(75**2, rel=0.03)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [(GeometryRules(), (240, 180)), (RELEASE, (392, 392)), (GeometryRules(crop=(200, 200)), (200, 180))],
)
def test_the_grid_is_known_beforehand(rules: GeometryRules, expected: tuple[int, int]) -> None:
    assert grid_after((240, 180), rules) == expected
    assert apply_geometry(np.zeros((1, 1, 240, 180), np.float32), rules).shape[2:] == expected


def test_without_rules_nothing_happens() -> None:
    values = pictures(20)
    assert apply_geometry(values, GeometryRules()) is values
    assert apply_geometry(values[:0], RELEASE).shape == (0, 3, 392, 392)
