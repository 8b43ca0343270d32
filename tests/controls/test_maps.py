"""The controls' maps, their descriptors, and their place in a plan."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from anyadbench.controls.descriptors import BRAIN, INTENSITY
from anyadbench.methods.contract import Batch, Context
from anyadbench.plugins import code_hash, find_method, load_methods
from anyadbench.plugins.methods import CONTROLS, HARNESS
from anyadbench.weights.resolved import NO_WEIGHTS

SEQUENCES = ("flair", "t1", "t1ce", "t2")


def batch() -> Batch:
    """Two slices with a brain of 6 x 6 pixels; the second shows FLAIR and T1 only."""
    rng = np.random.default_rng(0)
    values = np.zeros((2, 4, 12, 12), dtype=np.float32)
    values[:, :, 3:9, 3:9] = rng.uniform(0.2, 0.9, (2, 4, 6, 6))
    shown = torch.tensor([[True] * 4, [True, True, False, False]])
    return Batch(torch.from_numpy(values) * shown[:, :, None, None], shown)


def context(descriptor: object) -> Context:
    params = descriptor.resolve("paper")  # type: ignore[attr-defined]
    return Context(params, SEQUENCES, (12, 12), NO_WEIGHTS)


def test_the_brain_mask_is_one_inside_and_its_slice_score_is_its_share() -> None:
    scores = BRAIN.build(context(BRAIN)).score(batch())
    expected = np.zeros((2, 12, 12))
    expected[:, 3:9, 3:9] = 1
    np.testing.assert_array_equal(scores.maps.numpy(), expected)
    assert scores.images is not None and scores.images.tolist() == [0.25, 0.25]


def test_brightness_is_the_mean_with_t1_inverted_inside_the_brain_smoothed() -> None:
    found = INTENSITY.build(context(INTENSITY)).score(batch()).maps.numpy()
    values = batch().inputs.numpy().astype(np.float64)
    for number, places in ((0, (0, 1, 2, 3)), (1, (0, 1))):
        brain = values[number, list(places)].max(axis=0) > 0
        parts = [np.where(brain, 1 - values[number, p] if p in (1, 2) else values[number, p], 0) for p in places]
        expected = ndimage.gaussian_filter(np.mean(parts, axis=0), 2.0)
        np.testing.assert_allclose(found[number], expected, atol=1e-6)


def test_a_bright_lesion_in_flair_is_the_brightest_place() -> None:
    values = torch.zeros((1, 4, 32, 32))
    values[:, 0, 4:28, 4:28] = 0.4
    values[:, 0, 14:20, 8:14] = 0.9
    shown = torch.tensor([[True, False, False, False]])
    maps = INTENSITY.build(context(INTENSITY)).score(Batch(values, shown)).maps[0]
    row, column = divmod(int(maps.argmax()), 32)
    assert 14 <= row < 20 and 8 <= column < 14


@pytest.mark.parametrize("name", [name for name, _ in CONTROLS])
def test_controls_belong_to_the_harness_and_train_nothing(name: str) -> None:
    descriptor, entry = find_method(name)
    assert entry.distribution == HARNESS and descriptor.is_control and load_methods()[name] is descriptor
    assert not descriptor.weights and "steps" not in {param.name for param in descriptor.params}
    method = descriptor.build(context(descriptor))
    assert method.optimizers() == {} and method.saved_state() == {}


def test_the_code_of_a_control_is_its_own_folder() -> None:
    _, entry = find_method("control:brain")
    other, _ = find_method("pixelstats")
    assert code_hash(entry, BRAIN.factory) == code_hash(find_method("control:intensity")[1], INTENSITY.factory)
    assert code_hash(entry, BRAIN.factory) != code_hash(find_method("pixelstats")[1], other.factory)
