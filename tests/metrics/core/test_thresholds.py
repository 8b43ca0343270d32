"""Thresholds from normals, and the metrics at a threshold."""

from __future__ import annotations

import metrics_reference as reference
import numpy as np
import pytest

from anyadbench.errors import UserError
from anyadbench.metrics import PixelState, PixelStats, ScoreError, at_threshold, threshold_from_normals
from anyadbench.metrics.core import exact

MAPS, MASKS = reference.cases()["plain"]


def both(maps: np.ndarray = MAPS, masks: np.ndarray = MASKS) -> tuple[PixelStats, PixelState]:
    stats, state = PixelStats(), PixelState()
    stats.update(maps, masks)
    state.update(maps, masks)
    return stats, state


@pytest.mark.parametrize("quantile", [0.0, 0.3, 0.5, 0.99, 1.0])
def test_the_threshold_is_a_score_that_occurs(quantile: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "CHUNK", 100)
    expected = float(np.quantile(MAPS[~MASKS], quantile, method="higher"))
    stats, state = both()
    assert threshold_from_normals(MAPS[~MASKS], quantile) == expected
    assert threshold_from_normals(stats, quantile) == expected
    assert 0 <= threshold_from_normals(state, quantile) - expected <= abs(expected) * 2.0**-14


def test_counts_at_a_threshold_are_those_of_the_definition() -> None:
    values = at_threshold(both()[0], 0.5)
    flagged = MAPS > 0.5
    assert values["tp"] == (flagged & MASKS).sum()
    assert values["fp"] == (flagged & ~MASKS).sum()
    assert values["fn"] == (~flagged & MASKS).sum()
    assert values["tn"] == (~flagged & ~MASKS).sum()
    assert values["sensitivity"] == values["tp"] / MASKS.sum()
    assert values["specificity"] == values["tn"] / (~MASKS).sum()
    assert values["precision"] == values["tp"] / flagged.sum()
    assert values["dice"] == 2 * values["tp"] / (flagged.sum() + MASKS.sum())


def test_a_score_at_the_threshold_is_negative() -> None:
    stats, _ = both(np.full((2, 3, 3), 0.25, dtype=np.float32), np.eye(3, dtype=bool)[None].repeat(2, axis=0))
    assert at_threshold(stats, 0.25)["tp"] == 0
    assert at_threshold(stats, 0.2499999)["tp"] == 6


def test_a_state_counts_exactly_at_its_own_threshold() -> None:
    stats, state = both()
    threshold = threshold_from_normals(state)
    assert at_threshold(state, threshold) == at_threshold(stats, threshold)


def test_ratios_without_a_denominator_are_nan() -> None:
    stats, _ = both(MAPS, MASKS & False)
    values = at_threshold(stats, 1e9)
    assert np.isnan([values["dice"], values["sensitivity"], values["precision"]]).all()
    assert values["specificity"] == 1.0


def test_wrong_input_is_refused() -> None:
    for empty in ([], PixelState(), PixelStats()):
        with pytest.raises(UserError, match="no normal pixels"):
            threshold_from_normals(empty)
    with pytest.raises(UserError, match="quantile 99 is out of range"):
        threshold_from_normals([1.0], quantile=99)
    with pytest.raises(ScoreError, match="hold NaN"):
        threshold_from_normals([1.0, np.nan])
