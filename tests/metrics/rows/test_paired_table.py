"""Field and brain counted together equal a plain count of each, bit for bit, on inputs made to go wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from scipy import ndimage

from anyadbench.errors import UserError
from anyadbench.metrics.core import streaming
from anyadbench.metrics.core.curves import Curve, aupro, exact_sum
from anyadbench.metrics.core.exact import PixelStats
from anyadbench.metrics.core.ordered_bits import ScoreError, float32_keys
from anyadbench.metrics.core.streaming import UNIT, component_weights
from anyadbench.metrics.rows import paired_table
from anyadbench.metrics.rows.split_bins import SplitBins
from anyadbench.metrics.rows.split_counts import SplitCounts, slice_pixels

Case = tuple[np.ndarray, np.ndarray, np.ndarray]
CASES = ("random", "all equal", "ties and zeros of both signs", "no brain", "all brain", "lesions outside", "no lesion")


def case(name: str) -> Case:
    """Return maps, lesion masks and brains; lesions cross the brain's edge unless the name says otherwise."""
    rng = np.random.default_rng(CASES.index(name))
    maps = rng.standard_normal((9, 18, 21)).astype(np.float32)
    brains = np.zeros(maps.shape, dtype=bool)
    brains[:, 3:14, 4:17] = True
    brains[4] = False
    masks = ndimage.binary_dilation(rng.random(maps.shape) < 0.03, np.ones((1, 3, 3)))
    masks[::4] = False
    if name == "all equal":
        maps[:] = -0.5
    elif name == "ties and zeros of both signs":
        maps = (maps.round(0) * np.where(rng.random(maps.shape) < 0.5, 1, -0.0)).astype(np.float32)
    elif name in ("no brain", "all brain"):
        brains[:] = name == "all brain"
    elif name == "lesions outside":
        masks &= ~brains
    elif name == "no lesion":
        masks[:] = False
    return maps, masks, brains


def regions(masks: np.ndarray, brains: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Yield the pixels of field and brain, areas of their lesions' components (0 elsewhere), and how many there are."""
    for region in (np.ones_like(brains), brains):
        areas, components = np.zeros(masks.shape, dtype=np.int64), 0
        for number, lesion in enumerate(masks & region):
            labels, count = ndimage.label(lesion, structure=np.ones((3, 3)))
            areas[number][lesion] = np.bincount(labels.ravel())[labels[lesion]]
            components += count
        yield region, areas, components


def plain(maps: np.ndarray, region: np.ndarray, areas: np.ndarray, bits: int) -> dict[str, list[int]]:
    """Return the arrays of a state by counting in a dictionary."""
    sums: dict[int, list[int]] = {}
    for key, area in zip(float32_keys(maps)[region].tolist(), areas[region].tolist(), strict=True):
        one = sums.setdefault((key >> (32 - bits)) + (1 << (bits - 1)), [0, 0, 0])
        one[0] += area == 0
        one[1] += area > 0
        one[2] += (UNIT + area // 2) // area if area else 0
    bins = sorted(sums)
    columns = {name: [sums[place][i] for place in bins] for i, name in enumerate(("normal", "lesion", "weight"))}
    return {"bins": bins, **columns}


@pytest.mark.parametrize("bits", [24, 20, 12])
@pytest.mark.parametrize("name", CASES)
def test_histograms_are_those_of_a_plain_count(name: str, bits: int) -> None:
    maps, masks, brains = case(name)
    both = SplitBins(bits)
    for part in (slice(6, 9), slice(0, 1), slice(1, 6)):
        both.add(maps[part], slice_pixels(masks[part], brains[part]))
    for state, (region, areas, components) in zip((both.field(), both.inside), regions(masks, brains), strict=True):
        arrays = state.to_arrays()
        for array, values in plain(maps, region, areas, bits).items():
            assert arrays[array].tolist() == values, array
        assert arrays["components"] == components


@pytest.mark.parametrize("name", CASES)
def test_full_halves_move_to_tables_of_their_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    maps, masks, brains = case(name)
    states = []
    for most in (1 << 31, 500, 150):
        monkeypatch.setattr(paired_table, "_MOST_PACKED", most)
        both, pooled = SplitBins(), SplitBins(20)
        for number in range(len(maps)):
            part = slice(number, number + 1)
            both.add(maps[part], slice_pixels(masks[part], brains[part]))
        for _ in range(2):
            pooled.counts.add_table(both.counts)
        states.append((both.field(), both.inside))
        for table, doubled in (
            (both.counts.field(), pooled.counts.field()),
            (both.counts.brain(), pooled.counts.brain()),
        ):
            bins, values = table.items()
            coarse, numbers = np.unique(bins >> 4, return_inverse=True)
            assert doubled.items()[0].tolist() == coarse.tolist()
            assert doubled.items()[1].tolist() == np.bincount(numbers, 2 * values).tolist()
    for field, inside in states[1:]:
        for found, expected in ((field, states[0][0]), (inside, states[0][1])):
            for array, values in expected.to_arrays().items():
                np.testing.assert_array_equal(found.to_arrays()[array], values, err_msg=array)


@pytest.mark.parametrize("chunk", [None, 100])
@pytest.mark.parametrize("name", CASES)
def test_exact_counts_are_those_of_a_plain_sort(name: str, chunk: int | None) -> None:
    maps, masks, brains = case(name)
    both, first = (SplitCounts(PixelStats(chunk), PixelStats(chunk)) for _ in range(2))
    first.add(maps[5:], slice_pixels(masks[5:], brains[5:]))
    both.add(maps[:5], slice_pixels(masks[:5], brains[:5]))
    both.merge(first)
    for state, (region, areas, components) in zip((both.field(), both.inside), regions(masks, brains), strict=True):
        keys = float32_keys(maps)
        normal, lesion = np.sort(keys[region & ~masks]), keys[region & masks]
        values = np.unique(lesion)[::-1]
        steps = state.steps()
        reached = len(normal) - np.searchsorted(normal, values)
        above = len(normal) - np.searchsorted(normal, values, side="right")
        assert steps.tied.tolist() == (reached - above).tolist()
        assert np.cumsum(steps.gaps + np.append(0, steps.tied)).tolist() == [*above, len(normal)]
        assert steps.lesions.tolist() == [int((lesion == value).sum()) for value in values]
        packed = sorted(zip(lesion.tolist(), areas[region & masks].tolist(), strict=True), reverse=True)
        assert steps.areas.tolist() == [area for _, area in packed]
        assert steps.components == components


def test_a_score_that_is_not_finite_changes_no_histogram() -> None:
    maps, masks, brains = case("random")
    both, places = SplitBins(), slice_pixels(masks, brains)
    maps[7, 0, 0] = np.nan
    with pytest.raises(ScoreError, match="slice 7"):
        both.add(maps, places)
    assert both.field().to_arrays()["bins"].size == both.inside.to_arrays()["bins"].size == 0


def test_too_many_lesions_of_a_row_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, masks, brains = case("random")
    monkeypatch.setattr(streaming, "_MOST_COMPONENTS", 3)
    with pytest.raises(UserError, match="One pixel state holds at most 3 lesions; use one state per part"):
        SplitBins().add(maps, slice_pixels(masks, brains))


def test_weights_are_those_of_whole_numbers() -> None:
    areas = np.concatenate([np.arange(0, 70_000), np.random.default_rng(0).integers(1, 1 << 40, 10_000), [1 << 40]])
    assert component_weights(areas).tolist() == [(UNIT + a // 2) // a if a else 0 for a in areas.tolist()]


@pytest.mark.parametrize("spread", [0, 1, 30, 300])
@pytest.mark.parametrize("count", [0, 1, 3, 1000, 20_000])
def test_a_sum_is_rounded_once(spread: int, count: int) -> None:
    rng = np.random.default_rng(count)
    terms = rng.random(count) * np.exp2(-rng.uniform(0, spread, count))
    for signs in (1, rng.choice([-1, 0, 1], count)):
        assert exact_sum(terms * signs) == math.fsum((terms * signs).tolist())
    assert exact_sum(np.concatenate([terms, -terms, [2.0**-60]])) == 2.0**-60


def test_sums_of_values_out_of_range_are_those_of_the_standard_library() -> None:
    for terms in ([1e-300, 5e-324, 1.0], [1e300, 1e300, -1e300], [math.inf, 1.0], [math.nan, 1.0]):
        assert exact_sum(np.array(terms)) == pytest.approx(math.fsum(terms), abs=0, nan_ok=True)


@pytest.mark.parametrize("limit", [1e-4, 0.05, 0.3, 1.0])
def test_steps_beyond_the_limit_add_nothing(limit: float) -> None:
    rng = np.random.default_rng(4)
    bounds = np.cumsum(rng.integers(0, 3, 400)).reshape(200, 2)
    found = np.arange(1, 201)
    normals, lesions = np.asarray(int(bounds[-1, 1]) + 5), np.asarray(200)
    curve = Curve(bounds[:, 0], bounds[:, 1], found, found / 200, normals, lesions)
    stacked = Curve(*(np.stack([part, part]) for part in vars(curve).values()))  # a stack is summed whole
    assert float(aupro(curve, limit)) == pytest.approx(float(aupro(stacked, limit)[0]), abs=1e-14)
