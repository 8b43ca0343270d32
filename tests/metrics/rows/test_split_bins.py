"""One count of each pixel gives the histograms of field, brain and subjects that separate counts give, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from anyadbench.metrics import PixelState
from anyadbench.metrics.core.image import top_fraction_mean
from anyadbench.metrics.core.inside import brain_pixels
from anyadbench.metrics.core.ordered_bits import ScoreError, float32_keys, key_values
from anyadbench.metrics.rows.row_state import RowState
from anyadbench.metrics.rows.split_bins import RowBins, SplitBins
from anyadbench.metrics.rows.split_counts import SplitCounts, slice_pixels

COUNT = 12
KINDS = ("positive", "both signs", "zero outside", "many octaves", "ties")


def slices(kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return maps, lesion masks and brains; lesions cross the brain's edge, and some slices have none, or no brain."""
    rng = np.random.default_rng(KINDS.index(kind))
    maps = rng.standard_normal((COUNT, 20, 24)).astype(np.float32)
    brains = np.zeros(maps.shape, dtype=bool)
    brains[:, 3:15, 4:20] = True
    brains[5] = False
    masks = rng.random(maps.shape) < 0.1
    masks[::3] = False
    masks[1, 2:6, 2:8], masks[2], masks[2, 5:9, 6:9] = True, False, True
    if kind == "positive":
        maps = np.abs(maps)
    elif kind == "zero outside":
        maps = np.abs(maps) * brains
    elif kind == "many octaves":
        maps = np.sign(maps) * np.exp2(20 * maps)
    elif kind == "ties":
        maps = maps.round(0)
    return maps.astype(np.float32), masks, brains


def same(found: PixelState, expected: PixelState) -> None:
    ours, theirs = found.to_arrays(), expected.to_arrays()
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours[name], values, err_msg=name)
    assert found.compute() == pytest.approx(expected.compute(), abs=0, nan_ok=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [24, 20, 12])
def test_field_and_brain_are_those_of_separate_counts(kind: str, bits: int) -> None:
    maps, masks, brains = slices(kind)
    both, field, inside = SplitBins(bits), PixelState(bits), PixelState(bits)
    for part in (slice(0, 5), slice(5, COUNT)):
        both.add(maps[part], slice_pixels(masks[part], brains[part]))
    field.update(maps, masks)
    for number in range(COUNT):
        if brains[number].any():
            inside.update(*brain_pixels(*(array[number : number + 1] for array in (maps, masks, brains))))
    same(both.field(), field)
    same(both.inside, inside)


@pytest.mark.parametrize("kind", KINDS)
def test_ignored_pixels_are_in_no_histogram(kind: str) -> None:
    maps, masks, brains = slices(kind)
    ignored = np.random.default_rng(9).random(maps.shape) < 0.2
    ignored[::4] = False
    both, exact = SplitBins(), SplitCounts()
    for state in (both, exact):
        state.add(maps, slice_pixels(masks, brains, ignored))
    stays = ~ignored | masks
    for ours, theirs, kept in ((both.field(), exact.field(), stays), (both.inside, exact.inside, stays & brains)):
        assert int(ours.to_arrays()["normal"].sum()) == theirs.normal_pixels == int((kept & ~masks).sum())
        values = maps[kept & ~masks]
        expected = PixelState()
        expected.update(values[None, None], np.zeros((1, 1, len(values)), dtype=bool))
        held = ours.to_arrays()["normal"] > 0
        np.testing.assert_array_equal(ours.to_arrays()["bins"][held], expected.to_arrays()["bins"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_and_its_subjects_are_counted_at_once(kind: str) -> None:
    maps, masks, brains = slices(kind)
    places = slice_pixels(masks, brains)
    row, expected = RowBins(), SplitBins()
    subjects: dict[str, SplitBins] = {}
    for number in range(COUNT):  # subjects come back after others
        name = f"s{number // 2 % 3}"
        row.add(name, maps[number].ravel(), places[number])
        for state in (expected, subjects.setdefault(name, SplitBins(20))):
            state.add(maps[number : number + 1], places[number : number + 1])
    same(row.pooled.field(), expected.field())
    same(row.pooled.inside, expected.inside)
    assert list(row.subjects) == list(subjects)
    for name, state in subjects.items():
        same(row.subjects[name].field(), state.field())
        same(row.subjects[name].inside, state.inside)


@pytest.mark.parametrize("exact", [True, False])
def test_a_score_that_is_not_finite_changes_nothing(exact: bool) -> None:
    maps, masks, brains = slices("positive")
    maps[3, 0, 0] = np.nan
    state = RowState("F", exact, slices=COUNT)
    with pytest.raises(ScoreError):
        state.add(maps, slice_pixels(masks, brains), [{"subject": "a", "label": 1}] * COUNT)
    assert not state.records and not state.subjects and not state.bins.subjects


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.3, 1.0])
def test_the_highest_scores_are_those_of_a_full_sort(share: float) -> None:
    rng = np.random.default_rng(3)
    maps = rng.standard_normal((6, 120, 130)).astype(np.float32)
    maps[1], maps[2] = 0.25, maps[2].round(1)
    maps[3, ::2], maps[4].flat = -1, np.sort(maps[4], axis=None)
    maps[5] = 0
    maps[5].flat[1 :: 120 * 130 // 4096] = 1  # between the places of a sample
    count = max(1, int(share * 120 * 130))
    highest = np.sort(float32_keys(maps.reshape(6, -1)), axis=1)[:, -count:]
    np.testing.assert_array_equal(top_fraction_mean(maps, share), key_values(highest).sum(axis=1) / count)
