"""Stored pixel statistics give the metrics of the maps bit for bit, exact or binned; impossible ones are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import metrics_reference as reference
import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from anyadbench.errors import UserError
from anyadbench.metrics import PixelState, PixelStats, evaluate
from anyadbench.metrics.core.thresholds import at_threshold, quantile_of_state
from anyadbench.metrics.intervals.jackknife import JACKKNIFED
from anyadbench.metrics.names import BRAIN
from anyadbench.metrics.rows.row_numbers import row_numbers
from anyadbench.metrics.rows.row_pixels import RowPixels, exact_pixels, from_arrays, streaming_pixels, to_arrays
from anyadbench.metrics.rows.split_bins import SplitBins
from anyadbench.metrics.rows.split_counts import SplitCounts, slice_pixels
from anyadbench.results.arrays import load_arrays, save_arrays
from anyadbench.results.schema import Row

CASES = reference.cases()


def normals() -> PixelState:
    state = PixelState()
    state.update(np.random.default_rng(1).normal(size=(3, 9, 9)).astype(np.float32), np.zeros((3, 9, 9), bool))
    return state


def subjects_of(
    maps: np.ndarray, kind: type[PixelStats] | type[PixelState], masks: np.ndarray, brains: np.ndarray | None = None
) -> dict[str, object]:
    states: dict[str, object] = {}
    whole = np.ones_like(masks) if brains is None else brains
    for number in range(len(maps)):
        part = slice(number, number + 1)
        state: Any = SplitCounts() if kind is PixelStats else SplitBins()
        state.add(maps[part], slice_pixels(masks[part], whole[part]))
        states[f"s{number}"] = state
    return states


def exact_row(maps: np.ndarray, masks: np.ndarray, brains: np.ndarray | None = None) -> RowPixels:
    return row_of(maps, masks, brains, PixelStats)


def row_of(
    maps: np.ndarray, masks: np.ndarray, brains: np.ndarray | None, kind: type[PixelStats] | type[PixelState]
) -> RowPixels:
    states: Any = subjects_of(maps, kind, masks, brains)
    quantile = quantile_of_state(normals())
    if kind is PixelStats:
        return exact_pixels("t", "F", states, quantile)
    pooled = SplitBins()
    pooled.add(maps, slice_pixels(masks, np.ones_like(masks) if brains is None else brains))
    return streaming_pixels("t", "F", pooled, states, quantile)


def records(maps: np.ndarray, masks: np.ndarray) -> list[dict[str, object]]:
    labels = masks.any(axis=(1, 2))
    return [
        {"subject": f"s{i}", "scan": f"s{i}", "label": int(labels[i]), "lesion_px": int(masks[i].sum()),
         "image_score": float(maps[i].astype(np.float64).max())}
        for i in range(len(maps))
    ]  # fmt: skip


def stored(row: RowPixels, path: Path) -> RowPixels:
    save_arrays(path, to_arrays([row], {"t": row.subjects}))
    ((again,), subjects) = from_arrays(load_arrays(path, "x"))
    assert subjects == {"t": row.subjects}
    return again


@pytest.mark.parametrize("name", CASES)
def test_what_is_stored_gives_the_same_numbers_bit_for_bit(name: str, tmp_path: Path) -> None:
    maps, masks = CASES[name]
    row = exact_row(maps, masks)
    again = stored(row, tmp_path / "x.npz")
    table = records(maps, masks)
    ours, theirs = (row_numbers(part, table, row.subjects) for part in (row, again))
    assert ours[0] == theirs[0]
    assert ours[1] is not None and theirs[1] is not None
    np.testing.assert_array_equal(ours[1].own.jack, theirs[1].own.jack)
    assert ours[1].own.subjects == row.subjects and ours[1].own.point.shape == (1, len(JACKKNIFED))
    values = ours[0]["metrics"]
    assert {key: values[key] for key in reference.pixel_metrics(maps, masks)} == pytest.approx(
        reference.pixel_metrics(maps, masks), abs=1e-9
    )
    assert Row(test="t", subset="F", sequences=["flair"], **ours[0]).metrics == values


def test_every_metric_survives_flushing_negative_zero_and_outliers_at_once(flushing: None) -> None:
    rng = np.random.default_rng(8)
    masks = np.zeros((6, 12, 12), bool)
    masks[::2, 3:6, 4:9] = True
    bits = rng.integers(1, 40, masks.shape) + 20 * masks
    maps = bits.astype(np.int32).view(np.float32).copy()  # subnormal everywhere, but for
    maps[1, 0, 0], maps[3, 5, 5], maps[0, 0, 1] = 1e6, -1e6, -0.0
    scores = np.array([3, 1, 4, -0.0, 5, 0.0])
    values = evaluate(maps, masks, scores)
    torch.set_flush_denormal(False)
    assert {name: values[name] for name in reference.pixel_metrics(maps, masks)} == pytest.approx(
        reference.pixel_metrics(maps, masks), abs=1e-9
    )
    assert values["pixel_auroc"] == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-9)
    assert values["pixel_ap"] == pytest.approx(average_precision_score(masks.ravel(), maps.ravel()), abs=1e-9)
    labels = masks.any(axis=(1, 2))
    assert values["image_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    assert values["pixel_auroc"] > 0.6


def test_bins_are_stored_with_their_bound(tmp_path: Path) -> None:
    maps, masks = CASES["plain"]
    slices = slice_pixels(masks, np.ones_like(masks))
    both = SplitBins()
    both.add(maps, slices)
    states = {name: SplitBins(20) for name in ("s0", "s1", "s2", "s3", "s4")}
    for number, state in enumerate(states.values()):
        state.add(maps[number : number + 1], slices[number : number + 1])
    pooled = both.field()
    row = streaming_pixels("t", "F", both, states, quantile_of_state(normals()))
    again = stored(row, tmp_path / "x.npz")
    values = row_numbers(again, records(maps, masks), row.subjects)[0]
    assert values["pixels"] == "streaming" and values["error_bound"].items() >= pooled.error_bound.items()
    assert {name: values["metrics"][name] for name in pooled.compute()} == pooled.compute()
    assert values["intervals"]["pixel_ap"][0] is not None


def test_decisions_are_those_of_the_threshold() -> None:
    maps, masks = CASES["plain"]
    row = exact_row(maps, masks)
    stats = PixelStats()
    stats.update(maps, masks)
    value = quantile_of_state(normals()).value
    found = row_numbers(row, records(maps, masks), row.subjects)[0]["threshold"]
    assert found == {"value": value, **{name: number for name, number in at_threshold(stats, value).items()}}


def test_a_slice_without_a_normalised_score_leaves_the_row_without_its_metrics() -> None:
    maps, masks = CASES["plain"]
    row, table = exact_row(maps, masks), records(maps, masks)
    assert "image_auroc_height" not in row_numbers(row, table, row.subjects)[0]["metrics"]
    table = [{**record, "image_score_height": -float(record["image_score"])} for record in table]
    found = row_numbers(row, table, row.subjects)[0]
    assert found["metrics"]["image_auroc_height"] == pytest.approx(1 - found["metrics"]["image_auroc"])
    table[0]["image_score_height"] = None
    found = row_numbers(row, table, row.subjects)[0]
    assert found["metrics"]["image_f1_height"] is None and "image_f1_height" not in found["intervals"]
    assert "too few training normals can serve this subset" in found["reasons"]["image_f1_height"]


def test_lesions_outside_the_brain_count_in_the_field_alone() -> None:
    maps, masks = CASES["plain"]
    brains = np.ones_like(masks)
    brains[:, masks.shape[1] // 2 :] = False
    row = exact_row(maps, masks, brains)
    assert row.brain is not None
    kept = (masks & brains).sum() / masks.sum()
    assert row.steps.lesion_pixels == masks.sum() and row.brain.steps.lesion_pixels == (masks & brains).sum()
    found = row_numbers(row, records(maps, masks), row.subjects)[0]
    assert found["metrics"]["pixel_ap"] is not None and 0 < kept < 0.5
    assert {found["metrics"][name] for name in BRAIN} == {None} and not set(BRAIN) & set(found["intervals"])
    assert found["reasons"]["brain_ap"] == (
        f"{1 - kept:.0%} of the lesion pixels lie outside the brain, so metrics inside it would miss most lesions; "
        "check that masks and images lie on the same grid."
    )


@pytest.mark.parametrize("kind", [PixelStats, PixelState])
@pytest.mark.parametrize("cut", [False, True])
def test_a_brain_with_fewer_lesions_than_the_field_is_stored_too(
    kind: type[PixelStats] | type[PixelState], cut: bool, tmp_path: Path
) -> None:
    maps, masks = CASES["plain"]
    brains = np.ones_like(masks)
    brains[:, 0] = masks[:, 0]
    if cut:
        place = tuple(np.argwhere(masks)[0])
        brains[place] = False
    row = row_of(maps, masks, brains, kind)
    again = stored(row, tmp_path / "x.npz")
    assert row.brain is not None and again.brain is not None
    assert (row.brain.steps.lesion_pixels < row.steps.lesion_pixels) == cut
    ours, theirs = (row_numbers(part, records(maps, masks), row.subjects) for part in (row, again))
    assert ours[0] == theirs[0] and ours[0]["metrics"]["brain_ap"] is not None
    assert ours[1] is not None and theirs[1] is not None
    np.testing.assert_array_equal(ours[1].own.jack, theirs[1].own.jack)


def test_an_older_row_has_no_metrics_of_the_brain(tmp_path: Path) -> None:
    maps, masks = CASES["plain"]
    older = stored(replace(exact_row(maps, masks), brain=None), tmp_path / "x.npz")
    found, values = row_numbers(older, records(maps, masks), older.subjects)
    assert older.brain is None and not set(BRAIN) & set(found["metrics"])
    assert values is not None and np.isnan(values.own.metric("brain_ap")[1]).all()
    assert found["threshold"]["tp"] + found["threshold"]["fn"] == masks.sum()


def test_a_brain_with_more_pixels_than_the_field_is_refused() -> None:
    row = exact_row(*CASES["plain"])
    assert row.brain is not None
    gaps = row.brain.cohort.gaps.copy()
    gaps[0, -1] += 5
    steps = replace(row.brain.steps, gaps=row.brain.steps.gaps + 5 * (np.arange(len(row.brain.steps.gaps)) == 0))
    larger = replace(row.brain, steps=steps, cohort=replace(row.brain.cohort, gaps=gaps))
    with pytest.raises(UserError, match="more pixels inside the brain than in the field|do not add up"):
        replace(row, brain=larger).check()


def test_a_row_without_slices_has_counts_of_zero() -> None:
    values, replicates = row_numbers(None, [], ["s0"])
    assert values["n_slices"] == 0 and set(values["metrics"].values()) == {None}
    assert replicates is None


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("gaps", lambda a: a[1:], "impossible steps or counts"),
        ("lesions", lambda a: a * 0, "impossible steps or counts"),
        ("codes", lambda a: a + 200, "damaged or incomplete"),
        ("subject_tied", lambda a: a[:, 1:], "damaged or incomplete"),
        ("tied", lambda a: a.astype(np.int64) - 5, "damaged or incomplete"),
    ],
)
def test_impossible_statistics_are_refused(name: str, change: object, sentence: str) -> None:
    arrays = to_arrays([exact_row(*CASES["plain"])], {"t": [f"s{i}" for i in range(5)]})
    arrays[f"0/{name}"] = change(arrays[f"0/{name}"])  # type: ignore[operator]
    with pytest.raises(UserError, match=f"t, F: .*{sentence}"):
        from_arrays(arrays)


def test_statistics_of_the_first_version_are_recognised() -> None:
    with pytest.raises(UserError, match="damaged or incomplete"):
        from_arrays({"index": np.array("[]x")})
    with pytest.raises(UserError, match="earlier version without exact counts"):
        from_arrays({"index": np.array("[]")})
    with pytest.raises(UserError, match="name subjects outside the test set"):
        from_arrays(to_arrays([exact_row(*CASES["plain"])], {"t": ["s0"]}))
