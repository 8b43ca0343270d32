"""The streaming state: error within its bound, and the same bits in any order, on the host and through torch."""

from __future__ import annotations

import metrics_reference as reference
import numpy as np
import pytest
import torch

from anyadbench.errors import UserError
from anyadbench.metrics import PixelState, PixelStats, ScoreError, components
from anyadbench.metrics.core.sparse_histogram import PagedTable

CASES = reference.cases()
ROUNDING = 1e-12


def state_of(maps: np.ndarray, masks: np.ndarray, batch: int = 1000, bits: int = 24) -> PixelState:
    state = PixelState(bits)
    for start in range(0, len(maps), batch):
        state.update(maps[start : start + batch], masks[start : start + batch])
    return state


def assert_same(first: PixelState, second: PixelState) -> None:
    ours, theirs = first.to_arrays(), second.to_arrays()
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        assert values.dtype == theirs[name].dtype
        assert np.array_equal(values, theirs[name]), name
    assert first.compute() == pytest.approx(second.compute(), abs=0, nan_ok=True)


def many(count: int = 70) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    masks = rng.random((count, 12, 12)) < 0.05
    maps = np.exp(3 * rng.standard_normal(masks.shape) + masks) * np.where(rng.random(masks.shape) < 0.2, -1, 1)
    maps[0] = 0.0
    return maps.astype(np.float32), masks


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("bits", [12, 16, 24])
def test_error_stays_within_the_bound(name: str, bits: int) -> None:
    maps, masks = CASES[name]
    exact = PixelStats()
    exact.update(maps, masks)
    state = state_of(maps, masks, bits=bits)
    truth, values, bounds = exact.compute(), state.compute(), state.error_bound
    assert values.keys() == bounds.keys()
    for metric, value in values.items():
        assert abs(value - truth[metric]) <= bounds[metric] + ROUNDING


def test_a_bound_is_not_vacuous() -> None:
    state = state_of(*CASES["plain"], bits=24)
    assert max(state.error_bound.values()) < 1e-2
    assert state_of(*CASES["plain"], bits=12).error_bound["pixel_ap"] > state.error_bound["pixel_ap"]


def test_the_bound_covers_the_rounding_of_region_weights() -> None:
    masks = np.zeros((1, 210, 302), dtype=bool)
    masks[0, :206, :301] = True
    masks[0, 209, 5] = True
    maps = np.where(masks, np.float32(0.5), np.float32(0.75))
    maps[0, :100, :301] = 1.0
    exact, state = PixelStats(), state_of(maps, masks)
    exact.update(maps, masks)
    difference = abs(exact.compute()["aupro"] - state.compute()["aupro"])
    assert 1e-10 < difference <= state.error_bound["aupro"] < 1e-7


def test_region_weights_are_rounded_to_the_nearest() -> None:
    masks = np.zeros((1, 4, 4), dtype=bool)
    masks[0, :2, :3] = True
    assert state_of(masks.astype(np.float32), masks).to_arrays()["weight"].tolist() == [0, 6 * round(2**40 / 6)]


def test_tied_scores_are_exact() -> None:
    maps, masks = CASES["ties"]
    exact = PixelStats()
    exact.update(maps, masks)
    assert state_of(maps, masks).compute() == pytest.approx(exact.compute(), abs=1e-11)


@pytest.mark.parametrize("batch", [1, 7, 32])
def test_any_batch_size_gives_the_same_bits(batch: int) -> None:
    assert_same(state_of(*many(), batch), state_of(*many()))


def test_order_and_sharding_give_the_same_bits() -> None:
    maps, masks = many()
    whole = state_of(maps, masks)
    assert_same(state_of(maps[::-1], masks[::-1], 7), whole)
    shards = [state_of(maps[start::3], masks[start::3], 5) for start in (2, 0, 1)]
    assert_same(shards[0] + shards[1] + shards[2], whole)
    shards[2].merge(shards[0] + shards[1])
    assert_same(shards[2], whole)


@pytest.mark.parametrize("name", CASES)
def test_torch_tensors_give_the_same_bits(name: str) -> None:
    maps, masks = CASES[name]
    state = PixelState(20)
    state.update_torch(torch.from_numpy(maps[:2]), torch.from_numpy(masks[:2]))
    state.update_torch(torch.from_numpy(maps[2:]), masks[2:], components(masks[2:]))
    assert_same(state, state_of(maps, masks, bits=20))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_bits() -> None:
    maps, masks = many()
    state = PixelState()
    state.update_torch(torch.from_numpy(maps).cuda(), torch.from_numpy(masks).cuda())
    assert_same(state, state_of(maps, masks))


def test_flushing_subnormal_floats_changes_nothing() -> None:
    maps, masks = CASES["subnormal"]
    shifted = (maps.view(np.int32) * 1024).view(np.float32)
    plain = state_of(shifted, masks)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal floats")
    try:
        flushed = state_of(shifted, masks)
        through_torch = PixelState()
        through_torch.update_torch(torch.from_numpy(shifted), torch.from_numpy(masks))
    finally:
        torch.set_flush_denormal(False)
    assert_same(flushed, plain)
    assert_same(through_torch, plain)
    assert len(plain.to_arrays()["bins"]) > 3


def test_arrays_restore_the_state() -> None:
    state = state_of(*many())
    arrays = state.to_arrays()
    assert arrays["bins"].dtype == np.uint32
    assert arrays["normal"].sum() + arrays["lesion"].sum() == 70 * 144
    again = PixelState.from_arrays(arrays)
    assert_same(again, state)
    assert again.components == state.components > 0


def test_coarsening_equals_fewer_bits_from_the_start() -> None:
    maps, masks = many()
    assert_same(state_of(maps, masks).coarsened(14), state_of(maps, masks, bits=14))


def test_an_empty_state_is_undefined() -> None:
    state = PixelState()
    state.update(np.ones((2, 3, 3), dtype=np.float32), np.zeros((2, 3, 3), dtype=bool))
    assert all(np.isnan(value) for value in state.compute().values())
    assert all(np.isnan(value) for value in state.error_bound.values())
    assert len(PixelState().curves()["roc"]) == 0


def test_memory_holds_only_the_octaves_that_occur() -> None:
    maps = np.full((1, 8, 8), 0.7, dtype=np.float32)
    maps[0, 0] = 0.0
    maps[0, 1] = -1e30
    state = state_of(maps, maps > 1)
    assert state.nbytes == 3 * 8 * 2**15


def test_pages_found_one_by_one_keep_their_counts() -> None:
    table = PagedTable(24)
    values = np.asarray([1.0, 2.0, 1e-3, 1e20, -4.0, 0.0, 1.0, 7.0], dtype=np.float32)
    for value in values:
        keys = np.asarray([value], dtype=np.float32).view(np.int32)
        table.count_keys(np.where(keys < 0, np.int32(-(2**31)) - keys, keys))
    together = PagedTable(24)
    bits = values.view(np.int32)
    together.count_keys(np.where(bits < 0, np.int32(-(2**31)) - bits, bits))
    for ours, theirs in zip(table.items(), together.items(), strict=True):
        assert ours.tolist() == theirs.tolist()
    assert table.items()[1].tolist() == [1, 1, 1, 2, 1, 1, 1]
    assert table.at(np.asarray([0, 5])).tolist() == [1, 0]


def test_wrong_use_is_refused() -> None:
    state = state_of(*many(5))
    with pytest.raises(UserError, match="choose 12 to 24"):
        PixelState(25)
    with pytest.raises(UserError, match="24 and 20 bits cannot be merged"):
        state.merge(PixelState(20))
    with pytest.raises(UserError, match="cannot be refined to 24"):
        PixelState(20).coarsened(24)
    with pytest.raises(UserError, match="needs a float32 tensor"):
        state.update_torch(torch.zeros(1, 2, 2, dtype=torch.float64), np.zeros((1, 2, 2), dtype=bool))


def test_arrays_that_no_state_wrote_are_refused() -> None:
    arrays = state_of(*many(5)).to_arrays()
    with pytest.raises(UserError, match="lack the array 'weight'"):
        PixelState.from_arrays({name: array for name, array in arrays.items() if name != "weight"})
    with pytest.raises(UserError, match="different lengths"):
        PixelState.from_arrays(arrays | {"lesion": arrays["lesion"][1:]})
    with pytest.raises(UserError, match="impossible bins or counts"):
        PixelState.from_arrays(arrays | {"bins": arrays["bins"][::-1]})
    with pytest.raises(UserError, match="impossible bins or counts"):
        PixelState.from_arrays(arrays | {"normal": arrays["normal"] - 1000})


def test_too_many_lesions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anyadbench.metrics.core.streaming._MOST_COMPONENTS", 3)
    with pytest.raises(UserError, match="at most 3 lesions"):
        state_of(*many())
    small = state_of(*CASES["one pixel"])
    two = small + small
    with pytest.raises(UserError, match="at most 3 lesions"):
        two.merge(two)


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    maps, masks = many(5)
    maps[2, 1, 1] = bad
    state = PixelState()
    with pytest.raises(ScoreError, match="slice 2"):
        state.update(maps, masks)
    with pytest.raises(ScoreError, match="slice 2"):
        state.update_torch(torch.from_numpy(maps), masks)
    assert len(state.to_arrays()["bins"]) == 0
