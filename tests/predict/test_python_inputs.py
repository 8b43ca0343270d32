"""What the Python interface refuses of a scan, in one sentence, and names that are not UTF-8."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from anyadbench.errors import UserError
from anyadbench.names import readable_values
from anyadbench.predict.inputs import read_input
from anyadbench.predict.viewer.page import report_html
from anyadbench.predict.write import write_prediction

ARRAY = np.pad(np.arange(1.0, 513.0, dtype=np.float32).reshape(8, 8, 8), 4)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("gone", [False, True])
def test_an_image_whose_file_is_cut_is_one_sentence(ending: str, gone: bool, tmp_path: Path) -> None:
    path = tmp_path / f"scan{ending}"
    nibabel.save(nibabel.Nifti1Image(ARRAY + np.random.default_rng(0).uniform(0, 1, ARRAY.shape), AFFINE), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    image = nibabel.load(path)
    if gone:
        path.unlink()
    with pytest.raises(UserError, match=rf"flair: .*scan{ending} cannot be read \(.+\); copy or download it again\."):
        read_input("flair", image)


@pytest.mark.parametrize("path", ["x" * 300, f"{'y' * 300}/scan.nii.gz", "loop/scan.nii.gz"])
def test_a_path_that_the_system_refuses_is_one_sentence(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match=r"cannot be read \((File name too long|Too many levels of symbolic links)\); "):
        read_input("flair", path)


def test_a_path_with_the_character_0_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"flair: 'a\\x00b' holds the character 0, as no path does"):
        read_input("flair", "a\0b")


MOVED = np.array([[2.0, 0, 0, -30], [0, 2, 0, -40], [0, 0, 2, 5], [0, 0, 0, 1]])
SCALED = np.diag([1.0, 1.0, 1.0, 2.0])
FLAT = np.diag([1.0, 1.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("affine", "sentence"),
    [
        (
            SCALED,
            "flair: the affine's last row is 0 0 0 2 and not 0 0 0 1, as if it were transposed or scaled; give it",
        ),
        (MOVED.T, "flair: the affine's last row is -30 -40 5 1 and not 0 0 0 1"),
        (FLAT, "flair: the affine cannot be inverted, because its axes span no volume; give it as"),
        (np.where(MOVED == 5, np.nan, MOVED), "flair: an array needs a finite 4 × 4 affine"),
        (MOVED[:3], "flair: an array needs a finite 4 × 4 affine"),
    ],
)
def test_an_affine_that_is_none_is_one_sentence(affine: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_input("flair", ARRAY, affine=affine)
    read_input("flair", ARRAY, affine=MOVED)


def test_an_image_with_a_transposed_affine_is_refused_like_an_array() -> None:
    with pytest.raises(UserError, match="flair: the affine's last row is -30 -40 5 1 and not 0 0 0 1"):
        read_input("flair", nibabel.spatialimages.SpatialImage(ARRAY, MOVED.T))


def test_names_that_are_not_utf_8_are_escaped_in_the_scores_and_kept_for_reading(tmp_path: Path) -> None:
    from viewer_fixture import a_prediction

    name = os.fsdecode(b"J\xf6rg.nii.gz")
    facts = {"file": name, "shape_lps": [1, 1, 1], "spacing_lps_mm": [1, 1, 1], "resampled": False}
    found = a_prediction(inputs={"flair": facts, "t1": facts}, notes=(f"{name} is odd.",))
    write_prediction(found, tmp_path / "out", os.fsdecode(b"J\xf6rg"))
    text = (tmp_path / "out" / "prediction.json").read_text(encoding="utf-8")
    scores = json.loads(text)
    json.dumps(scores, ensure_ascii=False).encode("utf-8")  # as strict parsers need it
    assert (scores["inputs"]["flair"]["file"], scores["patient"]) == ("J\\xf6rg.nii.gz", "J\\xf6rg")
    assert scores["notes"] == ["J\\xf6rg.nii.gz is odd."]
    assert found.inputs["flair"]["file"] == name
    assert report_html(found, "x")
    assert readable_values({name: (1, None, [name])}) == {"J\\xf6rg.nii.gz": (1, None, ["J\\xf6rg.nii.gz"])}
