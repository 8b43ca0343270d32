"""Numbers of boxes, against a reference in plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anyadbench.metrics.boxes.detections import Detection, box_overlap, detections_above, peak_inside
from anyadbench.metrics.boxes.numbers import ALARMS, BoxImage, average_precision, box_image, box_metrics, froc

Box = tuple[float, float, float, float]


def overlap(a: Box, b: Box) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inner = max(width, 0) * max(height, 0)
    union = a[2] * a[3] + b[2] * b[3] - inner
    return inner / union if union else 0.0


def counts_at(images: list[BoxImage], limit: float, threshold: float) -> tuple[int, int]:
    """Return found boxes and false alarms of the detections with at least a score, by plain greedy matching."""
    found = alarms = 0
    for image in images:
        free = [tuple(box) for box in image.boxes]
        for item in sorted(image.detections, key=lambda item: (-item.score, item.box)):
            if item.score < threshold:
                continue
            best = max(free, key=lambda box: overlap(item.box, box), default=None)
            if best is not None and overlap(item.box, best) >= limit:
                free.remove(best)
                found += 1
            else:
                alarms += 1
    return found, alarms


def reference(images: list[BoxImage], limit: float) -> tuple[float, dict[float, float]]:
    """Return AP and FROC from the counts at every threshold."""
    total = sum(len(image.boxes) for image in images)
    levels = sorted({item.score for image in images for item in image.detections}, reverse=True)
    points = [counts_at(images, limit, level) for level in levels]
    area, before = 0.0, 0
    for place, (found, _) in enumerate(points):
        best = max(f / (f + a) for f, a in points[place:])
        area += (found - before) * best
        before = found
    sensitivity = {rate: max((f for f, a in points if a / len(images) <= rate), default=0) / total for rate in ALARMS}
    return area / total, sensitivity


def random_images(seed: int) -> list[BoxImage]:
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(12):
        scores = rng.normal(size=(24, 24)).round(1)
        boxes = np.column_stack([rng.integers(0, 14, (3, 2)), rng.integers(3, 9, (3, 2))]).astype(float)
        boxes = boxes[: int(rng.integers(0, 4))]
        for left, top, width, height in boxes.astype(int):
            scores[top : top + height - 1, left : left + width - 1] += rng.choice([0.0, 1.5, 3.0])
        images.append(box_image(scores, boxes, 1.4))
    return images


@pytest.mark.parametrize("limit", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_ap_and_froc_equal_a_plain_reference(seed: int, limit: float) -> None:
    images = random_images(seed)
    area, sensitivity = reference(images, limit)
    assert average_precision(images, limit) == pytest.approx(area, abs=1e-12)
    assert dict(froc(images, limit)) == pytest.approx(sensitivity)


def test_overlaps_equal_a_plain_reference() -> None:
    rng = np.random.default_rng(3)
    first, second = (np.column_stack([rng.uniform(0, 9, (6, 2)), rng.uniform(0, 5, (6, 2))]) for _ in range(2))
    expected = [[overlap(tuple(a), tuple(b)) for b in second] for a in first]
    assert box_overlap(first, second) == pytest.approx(np.array(expected))


def test_a_component_becomes_its_bounding_box_with_its_highest_score() -> None:
    scores = np.zeros((6, 8))
    scores[1, 2], scores[2, 3], scores[4, 6] = 0.5, 0.9, 0.7
    expected = [Detection((2.0, 1.0, 2.0, 2.0), 0.9), Detection((6.0, 4.0, 1.0, 1.0), 0.7)]
    assert detections_above(scores, 0.4) == expected
    assert detections_above(scores, 0.9) == []


def test_the_highest_pixel_hits_a_box_or_not() -> None:
    scores = np.zeros((4, 4))
    scores[2, 1] = 1
    assert peak_inside(scores, np.array([[1.0, 2.0, 1.0, 1.0]]))
    assert not peak_inside(scores, np.array([[2.0, 2.0, 2.0, 2.0], [0.0, 0.0, 1.0, 4.0]]))
    assert not peak_inside(scores, np.zeros((0, 4)))


def test_a_perfect_map_has_every_number_at_its_best() -> None:
    scores = np.zeros((16, 16))
    scores[2:6, 3:8] = 1
    found = box_metrics([box_image(scores, np.array([[3.0, 2.0, 5.0, 4.0]]), 0.5)])
    assert found.pop("alarms_per_image") == 0
    assert set(found.values()) == {1.0}


def test_a_map_that_draws_nothing_finds_nothing() -> None:
    found = box_metrics([box_image(np.zeros((8, 8)), np.array([[4.0, 4.0, 2.0, 2.0]]), 0.5)])
    assert set(found.values()) == {0.0}


def test_images_without_boxes_add_alarms_only() -> None:
    scores = np.zeros((16, 16))
    scores[2:6, 3:8] = 1
    good, none = np.array([[3.0, 2.0, 5.0, 4.0]]), np.zeros((0, 4))
    found = box_metrics([box_image(scores, good, 0.5), box_image(scores + 1, none, 1.5)])
    assert (found["hit_rate"], found["acc50"], found["alarms_per_image"]) == (1.0, 1.0, 0.5)
    assert found["ap50"] == 0.5  # the alarm has the higher score


def test_without_any_box_rates_are_undefined() -> None:
    found = box_metrics([box_image(np.ones((4, 4)), np.zeros((0, 4)), 0.5)])
    assert found["alarms_per_image"] == 1 and math.isnan(found["ap50"]) and math.isnan(found["hit_rate"])


def test_two_detections_of_one_box_are_one_finding_and_one_alarm() -> None:
    image = BoxImage(
        np.array([[0.0, 0.0, 4.0, 4.0]]),
        [Detection((0.0, 0.0, 4.0, 4.0), 0.9), Detection((0.0, 0.0, 4.0, 3.0), 0.8)],
        True,
    )
    found = box_metrics([image])
    assert (found["sensitivity"], found["alarms_per_image"], found["ap50"]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("seed", range(4))
def test_the_counts_that_nova_reports_follow_from_the_numbers(seed: int) -> None:
    images = random_images(seed)
    found, alarms = counts_at(images, 0.3, -math.inf)
    assert 0 < found < alarms
    numbers, boxes = box_metrics(images), sum(len(image.boxes) for image in images)
    assert numbers["sensitivity"] * boxes == pytest.approx(found)
    assert numbers["alarms_per_image"] * len(images) == pytest.approx(alarms)


def test_acc50_is_a_share_of_pictures_and_neither_of_boxes_nor_of_detections() -> None:
    boxes = np.array([[0.0, 0.0, 4.0, 4.0], [8.0, 0.0, 4.0, 4.0]])
    both = [Detection((0.0, 0.0, 4.0, 4.0), 0.9), Detection((8.0, 0.0, 4.0, 4.0), 0.8)]
    off = [Detection((20.0, 20.0, 4.0, 4.0), 0.7)]
    images = [BoxImage(boxes, both, True), BoxImage(boxes[:1], off, False), BoxImage(boxes[:1], [], False)]
    found = box_metrics(images)
    assert found["acc50"] == pytest.approx(1 / 3)
    assert found["sensitivity"] == pytest.approx(2 / 4)
    assert found["alarms_per_image"] == pytest.approx(1 / 3)
