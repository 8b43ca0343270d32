"""Maps from other subsets of a patient's sequences."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from viewer_fixture import a_prediction

import anyadbench
from anyadbench.errors import UserError
from anyadbench.predict.viewer.scene import lps
from anyadbench.predict.viewer.subsets import parse_subsets, with_subsets


class Recorder:
    """Answers every request with the same prediction, and keeps what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def predict(self, scans: dict[str, Any], **options: Any) -> Any:
        self.asked.append((scans, options))
        return a_prediction(shown=tuple(scans))


def test_all_subsets_are_predicted_one_by_one_from_what_was_read() -> None:
    prediction, recorder = a_prediction(), Recorder()
    found, others = with_subsets(prediction, recorder, "all", threshold=0.5)  # type: ignore[arg-type]
    assert found.notes == prediction.notes and len(others) == 2 and recorder.asked == []
    each = iter(others)
    next(each)
    assert len(recorder.asked) == 1
    next(each)
    assert [list(scans) for scans, _ in recorder.asked] == [["t1"], ["flair"]]
    assert recorder.asked[0][1] == {"threshold": 0.5}
    np.testing.assert_array_equal(recorder.asked[1][0]["flair"].dataobj, prediction.volumes["flair"].array)
    np.testing.assert_array_equal(recorder.asked[1][0]["flair"].affine, prediction.volumes["flair"].affine)
    assert [item["subset"] for item in others.found] == ["T1", "F"]
    assert others.found[0]["clusters"] == 2


def test_a_subset_that_the_patient_lacks_is_noted_and_its_own_is_not_repeated() -> None:
    found, others = with_subsets(a_prediction(), Recorder(), "F,F+T2,F+T1")  # type: ignore[arg-type]
    assert found.notes[-1] == "There is no map from F+T2: F+T1 was shown."
    assert others.subsets == (("flair",),)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("F,XX", "--subsets F,XX: 'XX' is not a subset of sequences; join F, T1, T1ce, T2, PD, DWI, ADC with '+'."),
        ("F,", "--subsets F,: '' is not a subset of sequences; join F, T1, T1ce, T2, PD, DWI, ADC with '+'."),
    ],
)
def test_a_list_that_is_none_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=re.escape(sentence)):
        parse_subsets(text)


def test_a_subsets_map_is_that_of_its_files_alone(trained_cells: dict[str, Path], tiny_phantom: Path) -> None:
    folder = tiny_phantom / "HGG" / "Phantom_001_1"
    paths = {name: folder / f"Phantom_001_1_{name}.nii.gz" for name in ("flair", "t1", "t2")}
    predictor = anyadbench.load(trained_cells["pixelstats"])
    prediction = predictor.predict(paths)
    _, others = with_subsets(prediction, predictor, "F+T2,T1")
    for item in others:
        alone = predictor.predict({name: paths[name] for name in item.shown})
        assert item.patient_score == alone.patient_score and item.threshold == alone.threshold
        np.testing.assert_array_equal(lps(item.map, item.affine), lps(alone.map, alone.affine))
