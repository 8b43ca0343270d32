"""The trivial control: pixel statistics."""

from __future__ import annotations

import torch
from inp_fixture import Normals, build

from anyadbench.methods.contract import Batch
from anyadbench_baselines.descriptors import PIXELSTATS


def fitted(**overrides: float):  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    present = torch.ones(9, 3, dtype=torch.bool)
    present[4:, 1] = False
    targets = torch.rand(9, 3, 40, 40) * present[:, :, None, None]
    method = build(PIXELSTATS, image_size=40, pass_batch=4, **overrides)
    method.prepare(Normals(targets, present))
    return method, targets, present


def test_mean_and_deviation_are_those_of_the_scans_that_have_the_sequence() -> None:
    method, targets, _ = fitted()
    torch.testing.assert_close(method.mean[0], targets[:, 0].mean(0))
    torch.testing.assert_close(method.mean[1], targets[:4, 1].mean(0))
    torch.testing.assert_close(method.std[1], targets[:4, 1].std(0, unbiased=False), rtol=1e-4, atol=1e-5)


def test_a_sequence_that_no_scan_has_stays_finite() -> None:
    method = build(PIXELSTATS)
    method.prepare(Normals(torch.zeros(2, 3, 40, 40), torch.tensor([[True, True, False]] * 2)))
    assert torch.isfinite(method.score(Batch(torch.rand(1, 3, 40, 40), torch.ones(1, 3, dtype=torch.bool))).maps).all()


def test_an_unusual_place_stands_out() -> None:
    method, targets, present = fitted()
    image = targets.mean(0, keepdim=True)
    image[:, :, 10:16, 20:26] += 3
    maps = method.score(Batch(image, present[:1])).maps[0]
    row, column = divmod(int(maps.argmax()), 40)
    assert 10 <= row < 16 and 20 <= column < 26


def test_hidden_sequences_never_reach_the_score() -> None:
    method, targets, _ = fitted()
    shown = torch.tensor([[True, False, True]]).expand(9, -1)
    clean = method.score(Batch(targets * shown[:, :, None, None], shown)).maps
    assert torch.equal(clean, method.score(Batch(targets + 5 * ~shown[:, :, None, None], shown)).maps)


def test_statistics_are_saved() -> None:
    method, targets, present = fitted()
    other = build(PIXELSTATS, image_size=40)
    other.load_saved_state(method.saved_state())
    assert torch.equal(method.score(Batch(targets, present)).maps, other.score(Batch(targets, present)).maps)
    assert not method.optimizers()
