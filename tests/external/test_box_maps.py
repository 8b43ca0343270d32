"""Scoring a folder of maps against a table of boxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from anyadbench.cli import main
from anyadbench.data.trees.readers.boxes import read_boxes
from anyadbench.errors import UserError
from anyadbench.external.box_maps import score_boxes

TABLE = "filename,x,y,width,height\na.png,3,2,5,4\nb.png,1,1,2,2\nc.png,,,,\n"


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Path, Path]:
    """Maps of three images: the first finds its box, the second draws elsewhere, the third has neither."""
    maps = tmp_path / "maps"
    maps.mkdir()
    for name, (rows, columns), value in (
        ("a", (slice(2, 6), slice(3, 8)), 0.9),
        ("b", (slice(9, 12), slice(9, 12)), 0.8),
    ):
        scores = np.zeros((16, 16), np.float32)
        scores[rows, columns] = value
        np.save(maps / f"{name}.npy", scores)
    np.save(maps / "c.npy", np.zeros((16, 16)))
    table = tmp_path / "boxes.csv"
    table.write_text(TABLE)
    return maps, table


def test_numbers_of_a_folder(scored: tuple[Path, Path]) -> None:
    found = score_boxes(*scored, threshold=0.5)
    assert (found.images, found.boxes, found.threshold) == (3, 2, 0.5)
    assert found.metrics["hit_rate"] == found.metrics["sensitivity"] == found.metrics["ap50"] == 0.5
    assert found.metrics["alarms_per_image"] == pytest.approx(1 / 3)


def test_the_default_threshold_is_a_quantile_of_all_pixels(scored: tuple[Path, Path]) -> None:
    pixels = np.concatenate([np.load(path).ravel() for path in scored[0].iterdir()])
    assert score_boxes(*scored).threshold == pytest.approx(np.quantile(pixels, 0.99))


def test_the_command_prints_the_numbers(scored: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    maps, table = scored
    with pytest.raises(SystemExit) as ended:
        main(["score-boxes", "--maps", str(maps), "--boxes", str(table), "--threshold", "0.5", "--json"])
    assert not ended.value.code
    told = json.loads(capsys.readouterr().out)
    assert told["metrics"]["hit_rate"] == 0.5 and told["images"] == 3
    with pytest.raises(SystemExit):
        main(["score-boxes", "--maps", str(maps), "--boxes", str(table), "--threshold", "0.5"])
    said = capsys.readouterr().out
    assert "hit_rate" in said and "3 images with 2 boxes; detections above 0.5." in said


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("filename,x,y,width\na,1,1,1\n", r"lacks the column 'height'; name its columns filename, x, y, width, height"),
        ("filename,x,y,width,height\na,1,1,0,4\n", r"line 2, has a box of 0 x 4 pixels; give it a size"),
        ("filename,x,y,width,height\na,1,left,3,4\n", r"line 2: .*left.*; give four numbers"),
        ("filename,x,y,width,height\na,1,inf,3,4\n", r"line 2, holds NaN or infinity; give four numbers"),
        (
            "filename,x,y,width,height\na,1,1,3,4\n\na,,,,\n",
            r"lines 2 and 4, says that a has no box and that it has one",
        ),
        (
            "filename,x,y,width,height\na,,,,\na,1,1,3,4\n",
            r"lines 2 and 3, says that a has no box and .*; keep the right",
        ),
        (
            "filename,x,y,width,height\nx/a_1.png,1,1,3,4\ny/a_1.png,2,2,3,4\n",
            r"lines 2 and 3, names both x/a_1.png and y/a_1.png, which are one image a_1 here; give each image",
        ),
        ("filename,x,y,width,height\na.png,1,1,3,4\na.jpg,2,2,3,4\n", r"lines 2 and 3, names both a.png and a.jpg"),
        ("filename,x,y,width,height\n,1,1,3,4\n", r"line 2, names no image; add its file name"),
        ("filename,x,y,width,height\n/,1,1,3,4\n", r"line 2, names no image"),
    ],
)
def test_a_table_that_holds_no_boxes_is_refused(tmp_path: Path, table: str, sentence: str) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(table)
    with pytest.raises(UserError, match=sentence):
        read_boxes(path)


def test_a_box_that_is_listed_twice_counts_once_and_is_mentioned(
    scored: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    maps, table = scored
    once = score_boxes(maps, table, 0.5)
    table.write_text(f"{TABLE}./a.png,3.0,2,5,4\nc.png,,,,\n")
    twice = score_boxes(maps, table, 0.5)
    assert (once.boxes, once.metrics, once.notes) == (twice.boxes, twice.metrics, ())
    assert [note.partition(" lists ")[2] for note in twice.notes] == [
        "a box of a twice (lines 2 and 5), which counts once.",
        "c without a box twice (lines 4 and 6), which counts once.",
    ]
    with pytest.raises(SystemExit):
        main(["score-boxes", "--maps", str(maps), "--boxes", str(table), "--threshold", "0.5", "--json"])
    out = capsys.readouterr()
    assert "which counts once." in out.err and json.loads(out.out)["boxes"] == 2


def test_what_is_no_map_of_an_image_is_refused(scored: tuple[Path, Path]) -> None:
    maps, table = scored
    for array, sentence in (
        (
            np.zeros((4, 4)),
            r"a.npy has 4 x 4 pixels, and a box at \(3.0, 2.0, 5.0, 4.0\) that .*; write maps at the size",
        ),
        (np.zeros((2, 16, 16)), r"a.npy has the shape \(2, 16, 16\) and type float64; write a map of numbers, H x W"),
        (np.full((16, 16), np.inf), r"a.npy holds NaN or infinite values as float32; write finite scores"),
    ):
        np.save(maps / "a.npy", array)
        with pytest.raises(UserError, match=sentence):
            score_boxes(maps, table)
    (maps / "a.npy").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"a.npy cannot be read as an array \(.*\); write the map again"):
        score_boxes(maps, table)
    (maps / "a.npy").unlink()
    with pytest.raises(UserError, match=r"has no map a.npy \(1 of 3 are missing\); write one for each"):
        score_boxes(maps, table)
    table.write_text("filename,x,y,width,height\n")
    with pytest.raises(UserError, match=r"lists no image; add a line for each"):
        score_boxes(maps, table)
