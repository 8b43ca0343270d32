from __future__ import annotations

import numpy as np
import pytest

from anyadbench.engine.masking import draw_shown, epoch_order

KEYS = np.arange(1000, 1400)
FULL = np.ones((400, 3), dtype=bool)


@pytest.mark.parametrize("mode", ["none", "per-sample", "per-epoch"])
def test_what_is_shown_is_never_empty_and_always_present(mode: str) -> None:
    present = np.random.default_rng(0).random((400, 3)) < 0.5
    present[~present.any(1), 0] = True
    for epoch in range(8):
        shown = draw_shown(mode, 0, epoch, KEYS, present)
        assert shown.any(1).all()
        assert not (shown & ~present).any()


def test_a_draw_does_not_depend_on_batch_order_or_size() -> None:
    whole = draw_shown("per-sample", 7, 3, KEYS, FULL)
    order = np.random.default_rng(1).permutation(len(KEYS))
    shuffled = draw_shown("per-sample", 7, 3, KEYS[order], FULL)
    single = np.concatenate([draw_shown("per-sample", 7, 3, KEYS[i : i + 1], FULL[:1]) for i in range(50)])
    assert (shuffled == whole[order]).all()
    assert (single == whole[:50]).all()


@pytest.mark.parametrize("other", [(8, 3), (7, 4)])
def test_seed_and_epoch_both_matter(other: tuple[int, int]) -> None:
    assert (draw_shown("per-sample", 7, 3, KEYS, FULL) != draw_shown("per-sample", *other, KEYS, FULL)).any()


def test_all_seven_subsets_are_equally_likely() -> None:
    draws = np.concatenate([draw_shown("per-sample", 0, epoch, KEYS, FULL) for epoch in range(20)])
    counts = np.bincount(draws @ [1, 2, 4], minlength=8)
    assert counts[0] == 0
    assert np.abs(counts[1:] / counts.sum() - 1 / 7).max() < 0.02


def test_one_subset_per_epoch_holds_for_every_slice() -> None:
    seen = set()
    for epoch in range(60):
        shown = draw_shown("per-epoch", 0, epoch, KEYS, FULL)
        assert (shown == shown[0]).all()
        seen.add(tuple(shown[0]))
    assert len(seen) == 7


def test_each_epoch_passes_over_every_slice_in_another_order() -> None:
    first, second = epoch_order(0, 0, 50), epoch_order(0, 1, 50)
    assert sorted(first) == sorted(second) == list(range(50))
    assert (first != second).any()
    assert (first == epoch_order(0, 0, 50)).all()
