"""Maps of another program become a marked row, with the numbers that a method with these maps would get."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
from grid_fixture import run
from maps_fixture import write_kept_maps
from tiny import VOLUME_PROTOCOL

from anyadbench.boards.aggregate.recompute import read_whole_scans
from anyadbench.boards.verify.cell import check_cell
from anyadbench.boards.verify.submission import check
from anyadbench.data.store.store import SliceStore
from anyadbench.errors import UserError
from anyadbench.external.scored_maps import ScoreRequest, score_maps
from anyadbench.protocols.reader import read_protocol
from anyadbench.results import CellResult


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, options: list[str]) -> Path:
    """A measured cell that kept all its maps."""
    runs = tmp_path_factory.mktemp("measured")
    done = run("run", "--method", "pixelstats", *options, "--runs", str(runs), "--keep-maps", "all")
    assert done.returncode == 0, done.stderr
    return next(path for path in (runs / "cells").iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def kept(measured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its maps as another program would write them: an array per slice, and the slices' scores."""
    return write_kept_maps(measured, tmp_path_factory.mktemp("maps"))


@pytest.mark.slow
def test_the_protocols_image_score_holds_for_other_programs_too(
    kept: Path, tmp_path: Path, tiny_protocol: Path, tiny_phantom: Path
) -> None:
    protocol = tmp_path / "top.toml"
    protocol.write_text(tiny_protocol.read_text().replace("[[test]]", "[scoring]\ntop_fraction = 0.2\n\n[[test]]"))
    options = ["--protocol", str(protocol), "--data", str(tiny_phantom), "--runs", str(tmp_path / "runs")]
    assert run("run", "--method", "pixelstats", *options).returncode == 0
    assert run("score", "--maps", str(kept), "--name", "Other", *options).returncode == 0
    tables = []
    for cell in sorted((tmp_path / "runs/cells").glob("*/scores/slices.csv")):
        with cell.open(newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row["subset"] != "as available"]
            tables.append([(row["subset"], row["scan"], row["slice"], row["image_score"]) for row in rows])
    assert len(tables) == 2 and sorted(tables[0]) == sorted(tables[1])


@pytest.fixture
def maps(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "maps"))


def result_of(runs: Path) -> CellResult:
    (cell,) = (path for path in (runs / "cells").iterdir() if path.is_dir())
    return CellResult.model_validate_json((cell / "result.json").read_text())


def score(maps: Path, options: list[str], *more: str) -> subprocess.CompletedProcess[str]:
    return run("score", "--maps", str(maps), *options, "--name", "Other", "--runs", str(maps.parent / "runs"), *more)


def test_maps_get_the_numbers_of_the_method_that_made_them(measured: Path, maps: Path, options: list[str]) -> None:
    done = score(maps, options, "--source", "Another program 1.0")
    assert done.returncode == 0, done.stderr
    ours = CellResult.model_validate_json((measured / "result.json").read_text())
    theirs = result_of(maps.parent / "runs")
    assert theirs.kind == "external" and theirs.source == "Another program 1.0"
    for one, other in zip(ours.rows, theirs.rows, strict=True):
        assert one.metrics == other.metrics
        assert one.sizes == other.sizes and one.n_slices == other.n_slices
        assert other.threshold is None and "no maps of validation normals" in other.reasons["threshold"]
    assert check(maps.parent / "runs").problems == []
    board = (maps.parent / "runs/boards/tiny/leaderboard.csv").read_text()
    assert "\nexternal,maps:Other,Other," in board and "external maps" in board
    assert "Maps of another" in done.stdout


def test_volumes_on_the_grid_of_the_scan_are_read(
    maps: Path, options: list[str], tiny_phantom: Path, measured: Path
) -> None:
    for label in maps.iterdir():
        for scan in list(label.iterdir()):
            image = nibabel.load(next(tiny_phantom.rglob(f"{scan.name}*flair*")))
            volume = np.full(image.shape, -5.0, dtype=np.float32)
            axes = "".join(nibabel.aff2axcodes(image.affine))
            lps = volume[:: 1 if axes[0] == "L" else -1, :: 1 if axes[1] == "P" else -1, :: 1 if axes[2] == "S" else -1]
            for path in scan.iterdir():
                lps[:, :, int(path.stem)] = np.load(path).T
            shutil.rmtree(scan)
            nibabel.save(nibabel.Nifti1Image(volume, image.affine), label / f"{scan.name}.nii.gz")
    done = score(maps, options)
    assert done.returncode == 0, done.stderr
    ours = CellResult.model_validate_json((measured / "result.json").read_text())
    assert [row.metrics for row in ours.rows] == [row.metrics for row in result_of(maps.parent / "runs").rows]


def test_validation_maps_give_a_threshold_and_a_table_gives_slice_scores(
    maps: Path, options: list[str], measured: Path
) -> None:
    manifest = json.loads((measured / "manifest.json").read_text())
    normals = manifest["data"]["phantom"]["selection"]["slices"]["val_normals"]
    shape = np.load(next(maps.rglob("*.npy"))).shape
    for scan, numbers in normals.items():
        for number in numbers:
            target = maps / "validation/F" / scan / f"{number}.npy"
            target.parent.mkdir(parents=True, exist_ok=True)
            np.save(target, np.full(shape, 0.5, dtype=np.float32))
    names = [(path.parent.name, path.stem) for path in (maps / "F").rglob("*.npy")]
    lines = [f"{scan},{number},{i}" for i, (scan, number) in enumerate(names)]
    (maps / "F/image_scores.csv").write_text("\n".join(["scan,slice,score", *lines]) + "\n")
    done = score(maps, options)
    assert done.returncode == 0, done.stderr
    first, second = result_of(maps.parent / "runs").rows[:2]
    assert first.threshold is not None and first.threshold.value == pytest.approx(0.5, rel=1e-4)
    assert second.threshold is None
    ours = CellResult.model_validate_json((measured / "result.json").read_text()).rows[0]
    assert first.metrics["image_auroc"] != ours.metrics["image_auroc"]
    assert first.metrics["pixel_ap"] == ours.metrics["pixel_ap"]


def test_a_subset_without_maps_is_an_empty_row_and_loses_the_rank(maps: Path, options: list[str]) -> None:
    shutil.rmtree(maps / "F+T2")
    done = score(maps, options)
    assert done.returncode == 0, done.stderr
    rows = {row.subset: row for row in result_of(maps.parent / "runs").rows}
    assert rows["F+T2"].reasons == {"row": "No maps were given for F+T2."}
    assert "Incomplete: no number for F+T2." in (maps.parent / "runs/boards/tiny/summary.csv").read_text()


def test_the_same_maps_are_not_scored_twice_and_other_maps_are_another_cell(maps: Path, options: list[str]) -> None:
    def cell() -> Path:
        return score_maps(request(maps, options), lambda done, total, text: None).final

    first = cell()
    written = (first / "result.json").stat().st_mtime_ns
    assert cell() == first and (first / "result.json").stat().st_mtime_ns == written
    path = next((maps / "T1").rglob("*.npy"))
    np.save(path, np.load(path) + 1)
    assert cell() != first


def _remove(maps: Path) -> None:
    next((maps / "T1").rglob("*.npy")).unlink()


def _nan(maps: Path) -> None:
    path = next((maps / "T1").rglob("*.npy"))
    array = np.load(path)
    array[3, 3] = np.nan
    np.save(path, array)


def _open_header(maps: Path) -> None:
    header = b"{'descr': '<f4', ("  # numpy's parser of headers ends inside the bracket
    next((maps / "T1").rglob("*.npy")).write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def _text(maps: Path) -> None:
    next((maps / "T1").rglob("*.npy")).write_text("no array")


def _archive(maps: Path) -> None:
    with next((maps / "T1").rglob("*.npy")).open("wb") as file:
        np.savez(file, np.zeros((3, 4)))


def _cube(maps: Path) -> None:
    np.save(next((maps / "T1").rglob("*.npy")), np.zeros((3, 4, 5)))


def _volume(maps: Path) -> None:
    scan = next((maps / "T1").iterdir())
    shutil.rmtree(scan)
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.float32), np.eye(4)), maps / "T1" / f"{scan.name}.nii.gz")


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (_remove, ".npy missing: T1 needs a map of every slice, or no folder at all."),
        (_nan, "holds NaN or infinite values as float32; give finite scores."),
        (_text, "cannot be read as an array (it does not begin as numpy.save begins a file); write it again with"),
        (_open_header, "cannot be read as an array ("),
        (_archive, "is a ZIP archive, such as numpy.savez writes, where one array is expected; write it again with"),
        (_cube, "holds float64 of shape (3, 4, 5); give numbers as height x width."),
        (_volume, "has the shape (4, 5, 6) (LPS) where its scan"),
        (lambda maps: (maps / "F+T3").mkdir(), "is not named after a subset of the protocol; rename or move it."),
        (lambda maps: (maps / "T1/nobody").mkdir(), "is not named after a scan of phantom; rename or remove it."),
        (lambda maps: (maps / "T1/image_scores.csv").write_text("a,b\n1,2\n"), "columns scan, slice and score"),
        (
            lambda maps: (maps / "T1/image_scores.csv").write_text("scan,slice,score\nx,1,0.5\n"),
            "image_scores.csv lacks slice",
        ),
        (lambda maps: (maps / "T1/image_scores.csv").write_text("scan,slice,score\nx,1,nan\n"), "give finite ones."),
        (lambda maps: [shutil.rmtree(path) for path in maps.iterdir()], "holds no folder of maps; name them F, T1"),
        (lambda maps: shutil.rmtree(maps), "there is no such folder; give the folder of maps."),
    ],
)
def test_mistakes_are_one_sentence(maps: Path, options: list[str], break_it: object, sentence: str) -> None:
    break_it(maps)  # type: ignore[operator]
    with pytest.raises(UserError) as caught:
        score_maps(request(maps, options), lambda done, total, text: None)
    assert sentence in str(caught.value)
    assert not list((maps.parent / "runs").glob("cells/*[!l]/result.json"))


def request(maps: Path, options: list[str], name: str = "Other") -> ScoreRequest:
    protocol = Path(options[1])
    return ScoreRequest(maps, read_protocol(protocol), maps.parent / "runs", name, (options[3],))


def test_a_name_must_be_a_name(maps: Path, options: list[str]) -> None:
    done = run("score", "--maps", str(maps), *options, "--name", "a/b", "--runs", str(maps.parent / "runs"))
    assert done.returncode == 2 and "--name 'a/b' must be 1 to 60 letters" in done.stderr
    assert "Traceback" not in done.stderr


def test_maps_of_every_brain_slice_give_the_numbers_of_whole_scans(
    store: SliceStore, tiny_phantom: Path, tmp_path: Path
) -> None:
    protocol = tmp_path / "volumes.toml"
    protocol.write_text(VOLUME_PROTOCOL)
    maps = tmp_path / "maps"
    for row, (scan, number) in enumerate(zip(store.slices["scan"], store.slices["slice"], strict=True)):
        target = maps / "F" / str(scan) / f"{number}.npy"
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, store.images[row, store.sequences.index("flair")].astype(np.float32))
    wanted = ScoreRequest(maps, read_protocol(protocol), tmp_path / "runs", "Bright", (str(tiny_phantom),))
    cell = score_maps(wanted, lambda done, total, label: None).final
    rows = {row.subset: row for row in result_of(tmp_path / "runs").rows}
    found = rows["F"].scans
    assert found is not None and found.n_lesions > 0 and found.metrics["dice_best"] is not None
    assert found.threshold is None and found.reasons["dice"].startswith("No threshold")
    assert rows["T1"].scans is None
    assert check_cell(cell).problems == []
    scan = read_whole_scans(cell).rows["phantom", "F"].scans[0]
    brain = store.slices[store.slices["scan"] == scan].sort_values("brain")
    (maps / "F" / scan / f"{brain['slice'].iloc[0]}.npy").unlink()  # at the end of the head, where no slice is tested
    with pytest.raises(UserError, match=r"missing: F needs a map of every slice, or no folder at all\.$"):
        score_maps(wanted, lambda done, total, label: None)
