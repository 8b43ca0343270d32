"""Folders of maps as people hand them over: geometry, tables, files that nobody means, and float64."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from trees import LPS, make_tree

from anyadbench.cells.stores import open_stores
from anyadbench.data.slices.geometry import apply_geometry
from anyadbench.data.store.build import prepare
from anyadbench.data.store.store import SliceStore
from anyadbench.data.trees.layouts import get_layout
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.errors import UserError
from anyadbench.external.map_files import MapFolder
from anyadbench.external.scored_maps import ScoreRequest, score_maps
from anyadbench.protocols.reader import read_protocol
from anyadbench.results import CellResult

nifti: Any = nibabel
Affine = Callable[[np.ndarray, tuple[int, ...]], np.ndarray]


@pytest.fixture(scope="module")
def selected(tiny_protocol: Path, tiny_phantom: Path) -> dict[str, dict[str, list[int]]]:
    """The slices of the protocol by list and scan."""
    protocol = read_protocol(tiny_protocol)
    stores = open_stores(protocol, {"phantom": tiny_phantom}, quiet)
    return dict(ProtocolData(protocol, stores).selections["phantom"].manifest()["slices"])


def quiet(done: int, total: int, text: str) -> None:
    """Show no progress."""


def write_maps(
    folder: Path, scans: list[str], tree: Path, affine: Affine = lambda own, shape: own, dtype: str = "f4"
) -> Path:
    """Write a map per scan from its segmentation, with an affine made from the scan's own affine and shape."""
    for scan in scans:
        image = nifti.load(next(tree.rglob(f"{scan}_seg.nii.gz")))
        lesion = np.asarray(image.dataobj) > 0
        noise = np.random.default_rng(len(scan)).random(lesion.shape)
        folder.mkdir(parents=True, exist_ok=True)
        map_ = nifti.nifti1.Nifti1Image((lesion * 3 + noise).astype(dtype), affine(image.affine, lesion.shape))
        map_.to_filename(folder / f"{scan}.nii.gz")
    return folder


@pytest.fixture
def scans(selected: dict[str, dict[str, list[int]]]) -> list[str]:
    return sorted({*selected["test_abnormals"], *selected["test_normals"]})


def score(folder: Path, options: list[str]) -> list[str]:
    """Score maps and return the notes."""
    notes: list[str] = []
    runs = folder.parent / "runs"
    request = ScoreRequest(folder, read_protocol(Path(options[1])), runs, "Other", (options[3],), keep_maps="none")
    score_maps(request, quiet, notes.append)
    return notes


def refusal(folder: Path, options: list[str]) -> str:
    with pytest.raises(UserError) as caught:
        score(folder, options)
    return str(caught.value)


def metrics(folder: Path) -> dict[str, float | None]:
    result = next((folder.parent / "runs").glob("cells/maps*/result.json"))
    return CellResult.model_validate_json(result.read_text()).rows[0].metrics


def moved(axis: int, millimetres: float) -> Affine:
    def change(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        affine = affine.copy()
        affine[axis, 3] += millimetres
        return affine

    return change


@pytest.mark.parametrize(
    ("affine", "validation"),
    [
        (lambda own, shape: np.eye(4), False),
        (lambda own, shape: LPS, False),
        (lambda own, shape: own @ np.diag([1.01, 1, 1, 1]), False),
        (lambda own, shape: np.diag([-1.0, 1.0, 1.0, 1.0]) @ own, False),
        (moved(2, 30.0), False),
        (moved(0, 0.6), False),
        (moved(1, -2.0), True),
    ],
    ids=["identity", "spacing", "one per cent", "mirrored", "30 mm up", "an eighth of a voxel", "validation"],
)
def test_a_map_off_its_scans_grid_is_refused(
    tmp_path: Path,
    selected: dict[str, dict[str, list[int]]],
    scans: list[str],
    options: list[str],
    tiny_phantom: Path,
    affine: Affine,
    validation: bool,
) -> None:
    write_maps(tmp_path / "maps/F", scans, tiny_phantom, *([] if validation else [affine]))
    if validation:
        write_maps(tmp_path / "maps/validation/F", sorted(selected["val_normals"]), tiny_phantom, affine)
    said = refusal(tmp_path / "maps", options)
    assert "has another affine than its scan Phantom" in said
    assert said.endswith("mm apart); write the map on the scan's grid, with its affine.")


def test_a_map_with_fewer_or_more_slices_is_refused(
    tmp_path: Path, scans: list[str], options: list[str], tiny_phantom: Path
) -> None:
    folder = write_maps(tmp_path / "maps/F", scans, tiny_phantom)
    path = sorted(folder.iterdir())[0]
    image = nifti.load(path)
    array = np.concatenate([np.asarray(image.dataobj)] * 2, axis=2)
    nifti.nifti1.Nifti1Image(array, image.affine).to_filename(path)
    assert "(LPS) where its scan Phantom" in refusal(tmp_path / "maps", options)


def test_another_orientation_rounding_and_unit_of_the_same_grid_give_the_same_numbers(
    tmp_path: Path, scans: list[str], options: list[str], tiny_phantom: Path
) -> None:
    folder = write_maps(tmp_path / "plain/maps/F", scans, tiny_phantom)
    score(folder.parent, options)
    other = tmp_path / "other/maps/F"
    other.mkdir(parents=True)
    for number, path in enumerate(sorted(folder.iterdir())):
        image = nifti.as_closest_canonical(nifti.load(path))
        affine = image.affine + np.random.default_rng(0).uniform(-1e-4, 1e-4, (4, 4)) * [[1], [1], [1], [0]]
        if number % 2:
            affine[:3] /= 1000
        turned = nifti.nifti1.Nifti1Image(np.asarray(image.dataobj)[..., None], affine)
        turned.header.set_xyzt_units("meter" if number % 2 else "mm")
        turned.to_filename(other / path.name)
    score(other.parent, options)
    assert metrics(other.parent) == metrics(folder.parent)


def test_junk_changes_nothing_and_two_maps_of_a_scan_are_refused(
    tmp_path: Path, scans: list[str], options: list[str], tiny_phantom: Path
) -> None:
    folder = write_maps(tmp_path / "maps/F", scans, tiny_phantom)
    score(tmp_path / "maps", options)
    cells = set((tmp_path / "runs/cells").iterdir())
    for place in (folder.parent, folder):
        for name in (".DS_Store", f"._{scans[0]}.nii.gz", "Thumbs.db", "desktop.ini", "~$image_scores.csv"):
            (place / name).write_bytes(b"junk")
    score(tmp_path / "maps", options)
    assert set((tmp_path / "runs/cells").iterdir()) == cells
    shutil.copy(folder / f"{scans[0]}.nii.gz", folder / f"{scans[0]}.nii")
    assert f"are both maps of {scans[0]}; remove one of them." in refusal(tmp_path / "maps", options)


def test_a_table_saved_by_a_spreadsheet_is_read_and_contradictions_are_refused(
    tmp_path: Path, selected: dict[str, dict[str, list[int]]], scans: list[str], options: list[str], tiny_phantom: Path
) -> None:
    folder = write_maps(tmp_path / "plain/maps/F", scans, tiny_phantom)
    lists = [(s, k, kind == "test_abnormals") for kind in ("test_abnormals", "test_normals")
             for s, numbers in selected[kind].items() for k in numbers]  # fmt: skip
    rows = [(scan, number, 0.25 + 0.5 * bad + i / 1000) for i, (scan, number, bad) in enumerate(lists)]
    table = folder / "image_scores.csv"
    table.write_text("scan,slice,score\n" + "".join(f"{s},{k},{v}\n" for s, k, v in rows))
    score(folder.parent, options)
    other = Path(shutil.copytree(folder, tmp_path / "other/maps/F"))
    lines = [f'"{s}";{k},0;{str(v).replace(".", ",")};;\r\n' for s, k, v in rows]
    text = "sep=;\r\n Scan ;SLICE;Score;;\r\n" + "".join(lines) + lines[0] + ";;;;\r\n"
    (other / table.name).write_bytes(text.encode("utf-16"))
    score(other.parent, options)
    assert metrics(other.parent) == metrics(folder.parent)
    first, last = rows[0], len(rows) + 2
    for more, sentence in (
        (f"{first[0]},{first[1]},9\n", f"lines 2 and {last}, give slice {first[1]} of {first[0]} two scores"),
        ("x,1.5,9\n", f"line {last}: '1.5' is not a whole number; correct that line."),
        ("x,1,high\n", f"line {last}: could not convert string to float: 'high'; correct that line."),
    ):
        broken = tmp_path / str(len(list(tmp_path.iterdir()))) / "maps/F"
        shutil.copytree(folder, broken)
        (broken / table.name).write_text(table.read_text() + more)
        assert sentence in refusal(broken.parent, options)


def test_a_volume_without_a_slice_of_its_scan_is_one_sentence(tmp_path: Path) -> None:
    store = prepare(make_tree("anyad-png", tmp_path / "tree", 2), get_layout("anyad-png"), tmp_path / "store")
    scan, number = str(store.slices["scan"].iloc[-1]), int(store.slices["slice"].iloc[-1])
    height, width = store.shape
    path = tmp_path / "maps/F" / f"{scan}.nii"
    path.parent.mkdir(parents=True)
    nifti.nifti1.Nifti1Image(np.zeros((width, height, number), np.float32), LPS).to_filename(path)
    maps = MapFolder(tmp_path / "maps", store, ("F",))
    assert maps.read("F", scan, number - 1).shape == store.shape
    with pytest.raises(UserError, match=rf"lacks slice {number} of {scan} \(it has {number}, from 0\); write"):
        maps.read("F", scan, number)


def test_an_array_lies_on_the_grid_of_its_scan_of_the_store_or_of_the_protocol(tmp_path: Path) -> None:
    make_tree("brats2018", tmp_path / "tree", [1])
    make_tree("brats2018", tmp_path / "tree", [2], (30, 36, 12))
    store = prepare(tmp_path / "tree", get_layout("brats2018"), tmp_path / "store")
    scan = next(name for name in store.scans.index if int(store.scans.loc[name, "width"]) == 30)
    assert store.shape == (40, 40) and int(store.scans.loc[scan, "height"]) == 36
    path = tmp_path / "maps/F" / scan / "4.npy"
    path.parent.mkdir(parents=True)
    maps = MapFolder(tmp_path / "maps", store, ("F",), grids=((56, 56), (64, 64)))
    own = np.random.default_rng(0).random((36, 30), dtype=np.float32) + 3
    np.save(path, own)
    found = maps.read("F", scan, 4)
    np.testing.assert_array_equal(found[2:-2, 5:-5], own)
    assert found.shape == (40, 40) and found[0].max() == found[:, 0].max() == own.min()
    volume = path.parents[1] / f"{scan}.nii"
    nifti.nifti1.Nifti1Image(np.repeat(own.T[..., None], 12, axis=2), LPS).to_filename(volume)
    np.testing.assert_array_equal(maps.read("F", scan, 4), found)
    volume.unlink()
    for shape in ((40, 40), (56, 56), (64, 64)):
        array = np.random.default_rng(0).random(shape, dtype=np.float32)
        np.save(path, array)
        np.testing.assert_array_equal(maps.read("F", scan, 4), array)
    for shape in ((30, 36), (40, 36), (80, 80)):
        np.save(path, np.zeros(shape, np.float32))
        with pytest.raises(UserError) as raised:
            maps.read("F", scan, 4)
        assert str(raised.value) == (
            f"{path} has {shape[0]} x {shape[1]} pixels (height x width), and its scan {scan} has 36 x 30; write the "
            "map on the scan's grid, or on 40 x 40 or 56 x 56 or 64 x 64."
        )


@pytest.mark.slow
def test_a_map_on_the_grid_of_the_slice_is_cropped_as_the_slice_is(
    tmp_path: Path, store: SliceStore, tiny_phantom: Path, tiny_protocol: Path
) -> None:
    rules = "[geometry]\nresize = [80, 80]\ncrop = [60, 56]\n\n[scoring]\ngrid = [32, 32]\n\n[[test]]"
    protocol = tmp_path / "cropped.toml"
    protocol.write_text(tiny_protocol.read_text().replace("[[test]]", rules))
    geometry = read_protocol(protocol).geometry
    for row, (scan, number) in enumerate(zip(store.slices["scan"], store.slices["slice"], strict=True)):
        whole = store.images[row, store.sequences.index("flair")].astype(np.float32)
        seen = apply_geometry(whole[None, None], geometry)[0, 0]
        assert whole.shape != seen.shape == (60, 56)
        for name, array in (("whole", whole), ("seen", seen)):
            target = tmp_path / name / "maps/F" / str(scan) / f"{number}.npy"
            target.parent.mkdir(parents=True, exist_ok=True)
            np.save(target, array)
    for name in ("whole", "seen"):
        score(tmp_path / name / "maps", ["--protocol", str(protocol), "--data", str(tiny_phantom)])
    assert metrics(tmp_path / "whole/maps") == metrics(tmp_path / "seen/maps")


def test_scores_finer_than_float32_are_reported_in_one_line(
    tmp_path: Path, scans: list[str], options: list[str], tiny_phantom: Path
) -> None:
    folder = write_maps(tmp_path / "maps/F", scans, tiny_phantom, dtype="f8")
    assert score(tmp_path / "maps", options) == []
    for path in folder.iterdir():
        image = nifti.load(path)
        nifti.nifti1.Nifti1Image(1 + 1e-9 * np.asarray(image.dataobj), image.affine).to_filename(path)
    (line,) = score(tmp_path / "maps", options)
    assert "has scores that differ by less than float32 can hold" in line
    assert "become equal" in line and "rescale the maps" in line
    for path in folder.iterdir():
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b"more"))
    header, again = score(tmp_path / "maps", options)
    assert "has 4 bytes after its values, which are not read." in header and again == line
