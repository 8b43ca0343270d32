"""Numbers of a row's boxes: without a subject they are those of the other pictures, and they are stored exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anyadbench.errors import UserError
from anyadbench.metrics.boxes.numbers import NAMES, BoxImage, box_image, box_metrics
from anyadbench.metrics.boxes.row import RowBoxes, box_numbers, box_replicates, row_boxes
from anyadbench.results.box_file import FILE, read_boxes_of, write_boxes
from anyadbench.results.schema import Boxes


def pictures(seed: int = 0) -> list[tuple[str, str, int, BoxImage]]:
    """Return pictures of seven cases, of which one has two and one has no box."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(8):
        scores = rng.normal(size=(20, 20)).round(2)
        boxes = np.array([[rng.integers(0, 12), rng.integers(0, 12), 6, 5]], dtype=float)[: int(number != 3)]
        for left, top, width, height in boxes.astype(int):
            scores[top : top + height, left : left + width] += 2.0 * (number % 3)
        found.append((f"case{number % 7}", f"case{number % 7}_{number}", number, box_image(scores, boxes, 1.9)))
    return found


def row(threshold: float | None = 1.9) -> RowBoxes:
    return row_boxes("nova", "T2", threshold, pictures())


def test_a_number_without_a_case_is_that_of_the_other_pictures() -> None:
    line = box_replicates(row())
    whole = box_metrics([image for *_, image in pictures()])
    assert line.subjects == tuple(f"case{number}" for number in range(7)) and line.metrics == NAMES
    np.testing.assert_array_equal(line.point[0], [whole[name] for name in NAMES])
    for place, name in enumerate(line.subjects):
        rest = box_metrics([image for subject, *_, image in pictures() if subject != name])
        np.testing.assert_array_equal(line.jack[0, place], [rest[each] for each in NAMES])


def test_intervals_are_over_cases_and_hold_the_value() -> None:
    found = Boxes(**box_numbers(row()))
    assert (found.n_subjects, found.n_images, found.n_boxes, found.threshold) == (7, 8, 7, 1.9)
    assert {"froc", "sensitivity", "alarms_per_image"} <= set(found.intervals)
    assert found.reasons["ap30_interval"].endswith("less often than it says; it needs 12.")
    for name, (low, high) in found.intervals.items():
        value = found.metrics[name]
        assert value is not None and low is not None and high is not None and 0 <= low <= value <= high


def test_without_a_threshold_only_the_hit_rate_is_defined() -> None:
    bare = [(*place, BoxImage(image.boxes, [], image.hit)) for *place, image in pictures()]
    found = box_numbers(row_boxes("nova", "T2", None, bare))
    assert [name for name, value in found["metrics"].items() if value is not None] == ["hit_rate"]
    assert found["reasons"]["froc"] == "No threshold: no validation normal slice can serve this subset."
    assert set(found["intervals"]) <= {"hit_rate"}


def test_few_cases_have_no_interval_and_no_boxes_no_number() -> None:
    few = box_numbers(row_boxes("nova", "T2", 1.9, pictures()[:3]))
    assert few["reasons"]["intervals"] == "No interval: 3 test subjects, and an interval needs 5."
    assert few["intervals"] == {}
    none = box_numbers(row_boxes("nova", "T2", 1.9, pictures()[3:4]))
    assert none["metrics"]["ap50"] is None and none["reasons"]["ap50"] == "No picture of this row has a box."


def test_boxes_are_stored_exactly(tmp_path: Path) -> None:
    (tmp_path / "cell" / "scores").mkdir(parents=True)
    assert read_boxes_of(tmp_path / "cell") == {}
    write_boxes(tmp_path / "cell" / FILE, [row()])
    again = read_boxes_of(tmp_path / "cell")["nova", "T2"]
    assert (again.subjects, again.slices, again.threshold) == (row().subjects, row().slices, 1.9)
    assert box_numbers(again) == box_numbers(row())


@pytest.mark.parametrize(
    "edit",
    [
        lambda head: head.update(format=9),
        lambda head: head["rows"][0]["images"].clear(),
        lambda head: head["rows"][0].update(threshold=None),
        lambda head: head["rows"][0]["images"][0].update(hit=1),
        lambda head: head["rows"][0]["images"][0].update(boxes=[[1, 1, 0, 4]]),
        lambda head: head["rows"][0]["images"][0].update(detections=[[1, 1, 2, 4, "high"]]),
        lambda head: head["rows"][0]["images"][0].update(detections=[[1, 1, 2, 4, float("nan")]]),
    ],
)
def test_damage_is_one_sentence(tmp_path: Path, edit: Any) -> None:
    path = tmp_path / "cell" / FILE
    path.parent.mkdir(parents=True)
    write_boxes(path, [row()])
    head = json.loads(path.read_text())
    edit(head)
    path.write_text(json.dumps(head))
    with pytest.raises(UserError, match="^cell/scores/boxes.json is damaged; run the cell again.$"):
        read_boxes_of(tmp_path / "cell")
