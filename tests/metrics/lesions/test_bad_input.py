"""Arrays that cannot be scored: one sentence each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anyadbench.errors import UserError
from anyadbench.metrics.lesions import DilationRule, OverlapRule, score_scan

SHAPE = (3, 4, 5)


def arrays(**changes: Any) -> dict[str, Any]:
    truth = np.zeros(SHAPE, dtype=bool)
    truth[1, 1, 1:4] = True
    given = {"scores": np.zeros(SHAPE), "truth": truth, "brain": np.ones(SHAPE, dtype=bool), "spacing": (1, 1, 1)}
    return given | changes


def with_value(value: float, where: tuple[int, int, int]) -> np.ndarray:
    scores = np.zeros(SHAPE)
    scores[where] = value
    return scores


def outside(voxels: int) -> np.ndarray:
    brain = np.ones(SHAPE, dtype=bool)
    brain[1, 1, 1 : 1 + voxels] = False
    return brain


CASES: list[tuple[dict[str, Any], str]] = [
    ({"spacing": None}, "The voxel spacing of sub-1 is missing; give three edges in mm, for example 1, 1 and 1."),
    ({"spacing": (1, 1)}, r"The voxel spacing of sub-1 is \(1, 1\) mm; give three edges from 0.05 to 20 mm, and"),
    ({"spacing": (0, 1, 1)}, r"\(0, 1, 1\) mm; give three edges from 0.05 to 20 mm"),
    ({"spacing": (1, -1, 1)}, r"\(1, -1, 1\) mm; give three edges"),
    ({"spacing": (1, 1, float("nan"))}, r"\(1, 1, nan\) mm; give three edges"),
    ({"spacing": (1, 1, float("inf"))}, r"\(1, 1, inf\) mm; give three edges"),
    ({"spacing": (0.001, 0.001, 0.001)}, r"\(0.001, 0.001, 0.001\) mm; give three edges"),
    ({"spacing": (25, 1, 1)}, r"\(25, 1, 1\) mm; give three edges"),
    (
        {"truth": np.zeros((3, 4, 6))},
        r"The lesion mask of sub-1 has shape \(3, 4, 6\) but its scores \(3, 4, 5\); bring",
    ),
    ({"brain": np.ones((3, 4, 6))}, r"The brain mask of sub-1 has shape \(3, 4, 6\) but its scores \(3, 4, 5\); bring"),
    ({"truth": np.full(SHAPE, 0.5)}, "The lesion mask of sub-1 holds values other than 0 and 1; threshold it first"),
    ({"brain": np.zeros(SHAPE)}, "The brain mask of sub-1 is empty; give true wherever the scan shows brain."),
    ({"brain": outside(1)}, "1 of 3 lesion voxels of sub-1 lie outside its brain; give the lesion mask and the brain"),
    ({"brain": outside(3)}, "3 of 3 lesion voxels of sub-1 lie outside its brain"),
    ({"scores": np.zeros((4, 5))}, r"The scores of sub-1 have shape \(4, 5\) and type float64; give real numbers of"),
    ({"scores": np.zeros(SHAPE, dtype=complex)}, "type complex128; give real numbers"),
    (
        {"scores": with_value(float("nan"), (2, 3, 4))},
        "The scores of sub-1 are NaN or infinite at 1 brain voxels, the first at slice 2, row 3, column 4; fix the",
    ),
    ({"scores": with_value(float("-inf"), (0, 0, 0))}, "the first at slice 0, row 0, column 0; fix the method"),
    ({"scores": with_value(1e300, (0, 1, 0))}, "the first at slice 0, row 1, column 0; fix the method"),
    ({"threshold": float("nan")}, "The threshold nan is not finite; give a finite number"),
    ({"grid": np.zeros(257)}, "257 common thresholds are too many; give at most 256."),
    ({"curve": "peaks"}, "The curve 'peaks' needs a threshold; give one, or use the curve 'sweep'."),
]


@pytest.mark.parametrize(("changes", "sentence"), CASES)
def test_bad_input_gives_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        score_scan(**arrays(**changes), name="sub-1")
    assert str(caught.value).count(". ") == 0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: OverlapRule(0), "The overlap 0 is out of range; give a number above 0 and at most 1."),
        (lambda: OverlapRule(1.5), "The overlap 1.5 is out of range"),
        (lambda: OverlapRule(assignment="best"), "The assignment 'best' is unknown; give 'most' or 'greedy'."),  # type: ignore[arg-type]
        (lambda: OverlapRule(smallest_ml=-1), "The smallest cluster of -1 ml is out of range; give 0 or more"),
        (lambda: DilationRule(smallest_ml=float("nan")), "The smallest cluster of nan ml is out of range"),
        (lambda: DilationRule(-1), "The dilation -1 is no number of voxels; give 0, 1, 2, ..."),
        (lambda: DilationRule(1, -5.0), "The volume -5.0 mm3 of dropped lesions is negative; give 0 or more."),
    ],
)
def test_impossible_rules_give_one_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make()


def test_scores_outside_the_brain_may_be_anything_and_a_few_lesion_voxels_may_lie_there() -> None:
    truth = np.zeros(SHAPE, dtype=bool)
    truth[1] = True
    brain = np.ones(SHAPE, dtype=bool)
    brain[1, 0, 0] = brain[0, 0, 0] = False
    record = score_scan(np.where(brain, truth * 1.0, np.nan), truth, brain, (1, 1, 1), threshold=0.5)
    assert (record.truth, record.predicted, record.hit) == (20, 19, 19)


@pytest.mark.parametrize("rule", [OverlapRule(), OverlapRule(spare_overlapping=True), DilationRule()])
def test_every_rule_says_what_it_is(rule: OverlapRule | DilationRule) -> None:
    assert "26-connected" in rule.sentence and f"{rule.smallest_ml:g} ml" in rule.sentence
