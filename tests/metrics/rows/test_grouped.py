"""Published pixel statistics: the ends of every metric contain its exact value and lie close to it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import metrics_reference as reference
import numpy as np
import pytest

from anyadbench.boards.verify import condense as condensing
from anyadbench.boards.verify.condense import condense, left_out
from anyadbench.errors import UserError
from anyadbench.metrics import PixelState, PixelStats
from anyadbench.metrics.core.curves import FIELD
from anyadbench.metrics.core.thresholds import quantile_of_state
from anyadbench.metrics.intervals.jackknife import pixels_drawn
from anyadbench.metrics.rows.grouped import GroupedSteps
from anyadbench.metrics.rows.row_numbers import row_numbers
from anyadbench.metrics.rows.row_pixels import (
    RowPixels,
    exact_pixels,
    from_arrays,
    streaming_pixels,
    to_grouped_arrays,
)
from anyadbench.metrics.rows.split_bins import SplitBins
from anyadbench.metrics.rows.split_counts import SplitCounts, slice_pixels
from anyadbench.results.arrays import load_arrays, save_arrays

CASES = reference.cases()


def blobs(seed: int = 0, grid: int = 48, digits: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return maps of 6 slices whose lesions are brighter on average, and their masks; ``digits`` rounds the scores."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((6, grid, grid), bool)
    side = grid // 4
    for number in range(1, 6):
        y, x = rng.integers(0, grid - side, 2)
        masks[number, y : y + 3 * number % side + 2, x : x + side] = True
    maps = rng.normal(size=masks.shape) + masks * rng.uniform(0.5, 2.5, (6, 1, 1))
    return (maps if digits is None else maps.round(digits)).astype(np.float32), masks


def row_of(
    maps: np.ndarray, masks: np.ndarray, kind: type[Any] = PixelStats, brains: np.ndarray | None = None
) -> RowPixels:
    """Return the statistics of a row in which each slice is a subject."""
    states: dict[str, Any] = {}
    slices = slice_pixels(masks, np.ones_like(masks) if brains is None else brains)
    for number in range(len(maps)):
        states[f"s{number}"] = SplitCounts() if kind is PixelStats else SplitBins()
        states[f"s{number}"].add(maps[number : number + 1], slices[number : number + 1])
    normals = PixelState()
    normals.update(maps[:1], np.zeros_like(masks[:1]))
    quantile = quantile_of_state(normals)
    if kind is PixelStats:
        return exact_pixels("t", "F", states, quantile)
    pooled = SplitBins()
    pooled.add(maps, slices)
    return streaming_pixels("t", "F", pooled, states, quantile)


def condensed(row: RowPixels) -> RowPixels:
    """Return the published form of a row."""
    (found,) = condense([row])
    return found


def grouped(row: RowPixels) -> GroupedSteps:
    found = condensed(row)
    assert isinstance(found.steps, GroupedSteps)
    return found.steps


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave 8 groups, so that the ends are far apart."""
    monkeypatch.setattr(condensing, "MOST_STEPS", 8)
    monkeypatch.setattr(condensing, "LEAST_GROUPS", 6)
    monkeypatch.setattr(condensing, "COUNTS", 1)
    monkeypatch.setattr(condensing, "NEAR", 10.0)


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("kind", [PixelStats, PixelState])
@pytest.mark.parametrize("digits", [None, 1, 0])
@pytest.mark.parametrize("seed", range(6))
def test_the_ends_of_few_groups_contain_the_exact_values(seed: int, digits: int | None, kind: type[Any]) -> None:
    row = row_of(*blobs(seed, digits=digits), kind=kind)
    steps = grouped(row)
    assert len(steps.lesions) <= 16 < len(row.steps.lesions) or digits is not None
    for name, (low, high) in steps.ends().items():
        assert low <= row.steps.compute()[name] <= high
    low, high = steps.ends()["pixel_auroc"]
    assert high - low < 1e-11


@pytest.mark.parametrize("kind", [PixelStats, PixelState])
@pytest.mark.parametrize("seed", range(3))
def test_enough_groups_bring_the_ends_together(seed: int, kind: type[Any]) -> None:
    row = row_of(*blobs(seed, grid=256), kind=kind)
    steps = grouped(row)
    assert len(steps.lesions) < len(row.steps.lesions)
    assert max(high - low for low, high in steps.ends().values()) <= 4 * condensing.WIDTH
    assert steps.curve().found[-1] == row.steps.lesion_pixels


@pytest.mark.parametrize("kind", [PixelStats, PixelState])
@pytest.mark.parametrize("name", CASES)
def test_a_published_row_has_the_numbers_of_the_run(name: str, kind: type[Any], tmp_path: Path) -> None:
    maps, masks = CASES[name]
    row = row_of(maps, masks, kind)
    path = tmp_path / "x.npz"
    save_arrays(path, to_grouped_arrays([condensed(row)], {"t": row.subjects}))
    (again,), subjects = from_arrays(load_arrays(path, "x"))
    assert subjects == {"t": row.subjects} and again.decision == row.decision
    table = [
        {"subject": f"s{i}", "scan": f"s{i}", "label": int(masks[i].any()), "lesion_px": int(masks[i].sum()),
         "image_score": float(maps[i].max())}
        for i in range(len(maps))
    ]  # fmt: skip
    ours, theirs = (row_numbers(part, table, row.subjects)[0] for part in (row, again))
    for numbers in (ours, theirs):
        numbers.pop("intervals", None)
    assert ours == theirs


@pytest.mark.parametrize("kind", [PixelStats, PixelState])
@pytest.mark.parametrize("cut", [False, True])
def test_the_brain_is_published_beside_the_field(kind: type[Any], cut: bool, tmp_path: Path) -> None:
    maps, masks = blobs(2, grid=128)
    brains = np.zeros_like(masks)
    brains[:, 8:120, 10:110] = True
    brains = brains & ~masks if cut else brains | masks
    brains[1:3] |= masks[1:3]  # with a cut, some lesions lie outside
    row = row_of(maps, masks, kind, brains)
    path = tmp_path / "x.npz"
    save_arrays(path, to_grouped_arrays([condensed(row)], {"t": row.subjects}))
    arrays = load_arrays(path, "x")
    (again,), _ = from_arrays(arrays)
    assert (arrays["brain_tied"].size == 0) != cut and (arrays["outside_tied"].size == 0) == cut
    assert row.brain is not None and again.brain is not None and isinstance(again.brain.steps, GroupedSteps)
    assert again.brain.steps.compute() == row.brain.steps.compute() and again.decision == row.decision
    for name, (low, high) in again.brain.steps.ends().items():
        assert low <= row.brain.steps.compute()[name] <= high <= low + 4 * condensing.BRAIN_WIDTH
    exact, close = left_out(row.brain, row.brain.cohort), left_out(again.brain, again.brain.cohort)
    np.testing.assert_array_equal(again.brain.cohort.left_out, exact)
    assert np.nanmax(np.abs(close - exact)) <= condensing.NEAR
    changed = {**again.brain.steps.values, "brain_aupro_05": again.brain.steps.values["brain_aupro_05"] + 0.01}
    with pytest.raises(UserError, match="brain_aupro_05 is .*, but the pixel statistics allow"):
        replace(again.brain.steps, values=changed).check()


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("brains", [False, True])
def test_groups_are_fine_enough_for_the_subjects_with_every_sequence(
    brains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(condensing, "GROUPED", 1e-3)
    maps, masks = blobs(1, grid=96)
    inside = masks | (np.arange(96) < 60)
    row, among = row_of(maps, masks, brains=inside if brains else None), ["s1", "s4"]

    def apart(found: RowPixels) -> float:
        assert row.brain is not None and found.brain is not None
        draws = np.isin(row.subjects, among)[None].astype(float)
        pairs = [(row.field, found.field), (row.brain, found.brain)] if brains else [(row.field, found.field)]
        values = [
            [pixels_drawn(one.cohort, one.steps.compute(), one.steps.region, draws) for one in pair] for pair in pairs
        ]
        return max(float(np.nanmax(np.abs(exact - close))) for exact, close in values)

    assert apart(condensed(row)) > condensing.GROUPED
    assert apart(condense([row], common=[among])[0]) <= 0.9 * condensing.GROUPED


def test_a_smaller_scale_takes_less_space(tmp_path: Path) -> None:
    row = row_of(*blobs(3, grid=256))
    sizes = []
    for scale in (1.0, 0.25):
        save_arrays(tmp_path / "x.npz", to_grouped_arrays(condense([row], scale), {"t": row.subjects}))
        sizes.append((tmp_path / "x.npz").stat().st_size)
    assert sizes[1] < sizes[0]


def test_condensing_twice_changes_nothing() -> None:
    once = condensed(row_of(*blobs()))
    assert condense([once])[0] is once


@pytest.mark.parametrize("name", FIELD.names)
@pytest.mark.parametrize("change", [-1e-3, 1e-3])
def test_a_changed_value_lies_outside_its_ends(name: str, change: float) -> None:
    steps = grouped(row_of(*blobs(grid=96)))
    steps.check()
    with pytest.raises(UserError, match=f"{name} is .*, but the pixel statistics allow"):
        replace(steps, values={**steps.values, name: steps.values[name] + change}).check()
    with pytest.raises(UserError, match=f"{name} is nan"):
        replace(steps, values={**steps.values, name: math.nan}).check()


@pytest.mark.parametrize("name", ["lesions", "weights", "ahead", "ties", "ranks", "positions", "gaps", "tied"])
def test_impossible_sums_are_refused(name: str) -> None:
    steps = grouped(row_of(*blobs()))
    with pytest.raises(UserError, match="impossible groups or sums"):
        replace(steps, **{name: getattr(steps, name) - 10**6}).check()
    with pytest.raises(UserError, match="impossible groups or sums"):
        replace(steps, **{name: getattr(steps, name)[1:]}).check()


@pytest.mark.parametrize("name", ["gaps", "tied", "lesions"])
def test_counts_of_subjects_must_add_up_to_the_groups(name: str) -> None:
    row = condensed(row_of(*blobs()))
    row.check()
    values = getattr(row.cohort, name).copy()
    values[0, 0] += 1
    values[0, -1] -= 1
    with pytest.raises(UserError, match=r"do not add up|impossible"):
        replace(row, cohort=replace(row.cohort, **{name: values})).check()


@pytest.mark.parametrize("name", ["gaps", "subject_tied", "index"])
def test_damaged_arrays_are_a_sentence(name: str) -> None:
    row = row_of(*blobs())
    arrays = to_grouped_arrays([condensed(row)], {"t": row.subjects})
    with pytest.raises(UserError, match="damaged or incomplete"):
        from_arrays({key: values for key, values in arrays.items() if key != name})
    if name != "index":
        with pytest.raises(UserError, match="damaged or incomplete"):
            from_arrays(arrays | {name: arrays[name][:, 1:]})


def test_only_grouped_rows_are_stored_in_this_form() -> None:
    row = row_of(*blobs())
    with pytest.raises(ValueError, match="not grouped"):
        to_grouped_arrays([row], {"t": row.subjects})


@pytest.mark.parametrize("kind", [PixelStats, PixelState])
def test_values_without_a_subject_are_those_of_the_run(kind: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condensing, "COUNTS", 1)
    row = row_of(*blobs(grid=256), kind=kind)
    short = condensed(row)
    assert short.cohort.left_out is not None
    assert short.cohort.tied.shape[1] < row.cohort.tied.shape[1]
    assert np.array_equal(short.cohort.left_out, left_out(row.field, row.cohort), equal_nan=True)
    close = np.abs(left_out(short.field, short.cohort) - short.cohort.left_out)
    assert np.nanmax(close) <= condensing.NEAR
