"""Patients compared with normals: percentiles, reference ranges, and the words for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anyadbench.predict.findings.compare import at_height, normal_range, patient_percentile, reference_range
from anyadbench.predict.findings.sentences import clusters_text, patient_text, percentile_text, top_line, volume_text
from anyadbench.results.normals import Normals, normal_slice, normals_of


def normals(heights: list[float], scores: list[float], scans: int = 1, subjects: list[int] | None = None) -> Normals:
    """Slices whose brain has one value of 100 pixels, and a peak ten above it."""
    rows = []
    for i, (height, score) in enumerate(zip(heights, scores, strict=True)):
        pixels = np.full(10_000, score, np.float32)
        pixels[0] = score + 10
        rows.append(normal_slice(i % scans, height, pixels, score))
    return normals_of(rows, 0.0, [float(i) for i in range(scans)], subjects or list(range(scans)))


def test_a_percentile_is_the_share_of_normal_slices_below_after_height_is_taken_out() -> None:
    heights = np.linspace(0.1, 0.9, 41)
    spread = np.tile([-1.0, -0.5, 0.0, 0.5, 1.0], 9)[:41]
    own = normals(heights.tolist(), (20 * heights + spread).tolist())
    for height in (0.15, 0.5, 0.85):
        low, middle, high = (at_height(own, "score", 20 * height + rise, height) for rise in (-3, 0.2, 3))
        assert low == 0 and high == 100
        assert middle == pytest.approx(60, abs=8)
    # The same score is high at one height and low at another.
    assert at_height(own, "score", 10.0, 0.2) == 100
    assert at_height(own, "score", 10.0, 0.8) == 0
    assert at_height(own, "peak", 20.0, 0.5) == pytest.approx(50, abs=15)


def test_no_percentile_is_given_far_from_every_normal_slice() -> None:
    own = normals(np.linspace(0.1, 0.3, 20).tolist(), list(range(20)))
    assert at_height(own, "score", 5.0, 0.45) is None
    assert at_height(own, "score", 5.0, float("nan")) is None
    assert at_height(own, "score", 50.0, 0.39) == 100
    unknown = normals([float("nan")] * 20, list(range(20)))
    assert at_height(unknown, "score", 5.0, 0.3) is None


def test_few_slices_are_ranked_as_they_are() -> None:
    own = normals([0.1, 0.2, 0.3, 0.4], [4.0, 3.0, 2.0, 1.0])
    assert at_height(own, "score", 2.5, 0.1) == 50


def test_patients_are_ranked_among_scans_where_there_are_subjects_enough() -> None:
    few = normals([0.5] * 8, list(range(8)), scans=4)
    assert patient_percentile(few, 5.5) == (75, "slices"), "six of eight slices"
    many = normals([0.5] * 8, list(range(8)), scans=8)
    assert patient_percentile(many, 2.5) == (37.5, "scans")
    twice = normals([0.5] * 8, list(range(8)), scans=8, subjects=[0, 0, 1, 1, 2, 2, 3, 3])
    assert patient_percentile(twice, 2.5)[1] == "slices", "eight scans of four people"


def test_a_reference_range_is_for_the_patients_brain_volume() -> None:
    shares = np.linspace(0, 0.1, 21)
    rows = []
    for i, share in enumerate(shares):
        pixels = np.zeros(10_000, np.float32)
        pixels[: round(share * 10_000)] = 2 + np.arange(round(share * 10_000)) / 1e6
        rows.append(normal_slice(i, 0.5, pixels, 0.0))
    own = normals_of(rows, 1.0, [0.0] * 21, list(range(21)))
    found = reference_range(own, 1.0, 60.0, 1000.0, "normals")
    assert (found["among"], found["n"], found["range"]) == ("scans", 21, "5th to 95th percentile")
    np.testing.assert_allclose(found["normal_volume_ml"], [5, 95], rtol=0.07)
    assert found["share_of_brain"] == 0.06
    assert found["percentile"] == pytest.approx(57, abs=5)
    assert normal_range(shares[:19])[2] == "lowest to highest"


def test_ranges_and_percentiles_are_in_words() -> None:
    reference = {"normal_volume_ml": [0.04, 3.1], "among": "slices", "n": 48, "range": "5th to 95th percentile"}
    assert volume_text(12.345, reference) == (
        "12.3 ml above the threshold; normal slices of this brain volume have 0.040 to 3.10 ml "
        "(5th to 95th percentile of 48)"
    )
    assert volume_text(12.3, None) == "a volume without a reference range, which is not shown"
    assert volume_text(None, None) == "no mask"
    assert percentile_text(97.9, "48 normal slices") == "higher than 97 % of 48 normal slices"
    assert percentile_text(100, "48 normal slices") == "higher than all 48 normal slices"
    own = {"patient": 97.9, "among": "slices", "n_slices": 48, "n_scans": 3}
    scores: dict[str, Any] = {"patient_score": 3.21, "percentiles": own}
    assert patient_text(scores) == "patient score 3.21 (higher than 97 % of 48 normal slices)"
    assert patient_text({**scores, "percentiles": None}) == "patient score 3.21"
    cluster = {"volume_ml": 11.5, "peak_mm": (10.2, -31.9, 44.0)}
    assert clusters_text([cluster, cluster]) == "2 clusters, the highest peak in one of 11.5 ml at (10, -32, 44) mm"
    assert clusters_text([]) == "no cluster"
    assert patient_text({**scores, "patient_score": None}) == "no patient score"
    line = {**scores, "volume_above_threshold_ml": None, "reference": None, "clusters": [], "alarm": None}
    line |= {"slices_counted": 14, "slices_with_brain": 20}
    counted = "14 of 20 slices with brain count"
    assert top_line(line) == f"patient score 3.21 (higher than 97 % of 48 normal slices); {counted}; no mask"
    alarm = {"alarm": True, "threshold": 3.0}
    assert top_line({**line, "alarm": alarm}).endswith("; no mask; ALARM (threshold 3)")
    assert top_line({**line, "alarm": {**alarm, "alarm": False}}).endswith("; no alarm (threshold 3)")
