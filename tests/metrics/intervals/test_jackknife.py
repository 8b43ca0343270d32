"""Values without a subject against recomputation, and lines that are put together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anyadbench.errors import UserError
from anyadbench.metrics import PixelStats, evaluate, image_metrics
from anyadbench.metrics.core.cohort import Cohort, exact_cohort, lesion_owners
from anyadbench.metrics.core.inside import brain_pixels, brain_values
from anyadbench.metrics.intervals.jackknife import (
    JACKKNIFED,
    Replicates,
    jackknife_values,
    mean_of,
    one_seed,
    over_seeds,
)
from anyadbench.metrics.names import HEIGHT

Subjects = list[tuple[np.ndarray, np.ndarray, np.ndarray]]
BRAIN = np.zeros((4, 8, 8), dtype=bool)
BRAIN[:, 1:7, 2:] = True


def cohort(lesions: list[int], seed: int = 0) -> Subjects:
    """One subject per entry, with lesions on so many of its four slices."""
    rng = np.random.default_rng(seed)
    rows = []
    for number, abnormal in enumerate(lesions):
        masks = np.zeros((4, 8, 8), dtype=bool)
        masks[:abnormal, 2:5, 3 : 6 + number % 2] = True
        maps = (rng.standard_normal(masks.shape) + masks).astype(np.float32)
        rows.append((maps, masks, maps.max(axis=(1, 2)).astype(np.float64)))
    return rows


def statistics(rows: Subjects) -> tuple[Cohort, list[tuple[np.ndarray, np.ndarray]]]:
    states, pooled = [], PixelStats()
    for maps, masks, _ in rows:
        state = PixelStats()
        state.update(maps, masks)
        states.append(state)
        pooled.merge(state)
    counts = exact_cohort(states, pooled.steps(), lesion_owners(states))
    return counts, [(scores, masks.any(axis=(1, 2))) for _, masks, scores in rows]


def normalised(scores: np.ndarray) -> np.ndarray:
    """Return other scores of the same slices, as after a correction for height."""
    return scores - np.linspace(0, 1, len(scores))


def inside(rows: Subjects) -> list[PixelStats]:
    states = []
    for maps, masks, _ in rows:
        states.append(PixelStats())
        states[-1].update(*brain_pixels(maps, masks, BRAIN))
    return states


def more(rows: Subjects) -> dict[str, Any]:
    """Return the counts of the brain and the normalised scores."""
    states, pooled = inside(rows), PixelStats()
    for state in states:
        pooled.merge(state)
    counts = exact_cohort(states, pooled.steps(), lesion_owners(states))
    return {"brain": counts, "heights": [(normalised(scores), np.any(masks, axis=(1, 2))) for _, masks, scores in rows]}


def brute_force(rows: Subjects) -> np.ndarray:
    maps, masks, scores = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    labels, pooled = masks.any(axis=(1, 2)), PixelStats()
    for state in inside(rows):
        pooled.merge(state)
    values = evaluate(maps, masks, scores) | image_metrics(scores, labels) | brain_values(pooled.curve())
    heights = image_metrics(np.concatenate([normalised(part) for *_, part in rows]), labels)
    values |= {name: heights[name.removesuffix("_height")] for name in HEIGHT}
    return np.array([values[name] for name in JACKKNIFED])


def test_every_value_without_a_subject_is_that_of_the_others_alone() -> None:
    rows = cohort([2, 1, 0, 3, 4, 2])
    point = dict(zip(JACKKNIFED, brute_force(rows), strict=True))
    values, jack = jackknife_values(*statistics(rows), point, **more(rows))
    assert values.tolist() == list(point.values())
    expected = np.stack([brute_force([*rows[:i], *rows[i + 1 :]]) for i in range(len(rows))])
    np.testing.assert_allclose(jack, expected, atol=1e-12)
    assert np.ptp(jack, axis=0).min() > 0


def test_values_among_some_subjects_are_those_of_the_others_alone() -> None:
    rows = cohort([2, 1, 0, 3, 4, 2])
    points = dict(zip(JACKKNIFED, brute_force(rows), strict=True))
    among = [0, 3, 5, 1]
    point, jack = jackknife_values(*statistics(rows), points, among, **more(rows))
    np.testing.assert_allclose(point, brute_force([rows[i] for i in among]), atol=1e-12)
    expected = np.stack([brute_force([rows[i] for i in among if i != left]) for left in among])
    np.testing.assert_allclose(jack, expected, atol=1e-12)


def test_the_only_subject_with_a_lesion_or_with_normals_cannot_be_left_out() -> None:
    rows = cohort([2, 0, 0])
    point = dict(zip(JACKKNIFED, brute_force(rows), strict=True))
    jack = jackknife_values(*statistics(rows), point, **more(rows))[1]
    assert np.isnan(jack[0]).all() and not np.isnan(jack[1:]).any()
    images = {name for name in JACKKNIFED if name.startswith("image_")}
    rows = cohort([2, 4, 4])
    point = dict(zip(JACKKNIFED, brute_force(rows), strict=True))
    jack = jackknife_values(*statistics(rows), point, **more(rows))[1]
    assert {name for name, value in zip(JACKKNIFED, jack[0], strict=True) if np.isnan(value)} == images


def test_values_are_moved_to_the_point_that_is_known_more_exactly() -> None:
    rows = cohort([2, 1, 3, 2])
    points = dict(zip(JACKKNIFED, brute_force(rows), strict=True))
    plain = jackknife_values(*statistics(rows), points, **more(rows))[1]
    less = {name: value - 0.01 for name, value in points.items()}
    moved = jackknife_values(*statistics(rows), less, **more(rows))[1]
    np.testing.assert_allclose(moved, plain - 0.01, atol=1e-12)


def test_a_row_without_brain_and_heights_has_none_of_their_values() -> None:
    rows = cohort([2, 1, 3])
    points = dict(zip(JACKKNIFED, brute_force(rows), strict=True))
    found = {name for name in JACKKNIFED if not name.startswith("brain_") and not name.endswith("_height")}
    jack = jackknife_values(*statistics(rows), {name: points[name] for name in found})[1]
    assert {name for name, value in zip(JACKKNIFED, jack[0], strict=True) if value == value} == found


def test_counts_and_images_of_different_subjects_are_refused() -> None:
    counts, images = statistics(cohort([2, 1, 3]))
    with pytest.raises(UserError, match=r"There are pixel counts of 3 subjects but image scores of 2; give both\."):
        jackknife_values(counts, images[:2], {})


def line(subjects: str, values: list[list[float]], point: float = 0.5) -> Replicates:
    jack = np.array(values)[:, :, None]
    return Replicates(tuple(subjects), ("aupro",), np.full((len(values), 1), point), jack)


def test_a_mean_over_subsets_leaves_a_subject_out_of_those_that_have_it() -> None:
    found = mean_of([line("ab", [[0.4, 0.6]]), line("bc", [[0.2, 0.4]], 0.3)])
    assert found.subjects == ("a", "b", "c")
    np.testing.assert_allclose(found.point, [[0.4]])
    np.testing.assert_allclose(found.jack[0, :, 0], [(0.4 + 0.3) / 2, (0.6 + 0.2) / 2, (0.5 + 0.4) / 2])


def test_seeds_are_stacked() -> None:
    values = np.arange(len(JACKKNIFED)) / 10
    first = one_seed("ab", values, np.tile(values, (2, 1)))
    both = over_seeds([first, first])
    assert both.seeds == 2 and both.metric("pixel_f1")[0].tolist() == [0.5, 0.5]


def test_lines_that_do_not_fit_are_refused() -> None:
    two, one = line("ab", [[0.4, 0.6], [0.4, 0.6]]), line("ab", [[0.4, 0.6]])
    with pytest.raises(UserError, match=r"The seeds of a method were scored on different subjects; run them on the"):
        over_seeds([one, line("ac", [[0.4, 0.6]])])
    with pytest.raises(
        UserError, match=r"The subsets have different numbers of seeds; run every seed on all of them\."
    ):
        mean_of([one, two])
    with pytest.raises(ValueError, match="subject a is not among those given"):
        one.on(("b", "c"))
    with pytest.raises(ValueError, match="do not fit 1 subjects"):
        line("a", [[0.4, 0.6]])
