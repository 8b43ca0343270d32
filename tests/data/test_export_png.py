"""Writing the AnyAD release's tree and reading it back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from trees import make_tree, path_of, save, values_of

from anyadbench.cli import main
from anyadbench.data.export_png import PARTS, Exported, export_png
from anyadbench.data.slices.intensity import apply_scale
from anyadbench.data.slices.rules import SliceRules, SplitRules
from anyadbench.data.slices.selection import Selection, select_slices, split_store
from anyadbench.data.store.build import prepare
from anyadbench.data.store.store import SliceStore
from anyadbench.data.trees.layouts import get_layout
from anyadbench.data.trees.png import read_png
from anyadbench.errors import UserError

PNG = get_layout("anyad-png")
NAMES = ("flair", "t1", "t2")


def chosen(store: SliceStore, rules: SliceRules = SliceRules()) -> Selection:
    return select_slices(store, rules, split_store(store, SplitRules(), NAMES))


def export(store: SliceStore, out: Path) -> Exported:
    return export_png(store, out, chosen(store))


@pytest.fixture(scope="module")
def brats(tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    root = tmp_path_factory.mktemp("brats")
    return prepare(make_tree("brats2018", root / "tree", 5), get_layout("brats2018"), root / "store")


def test_the_tree_has_the_releases_names(brats: SliceStore, tmp_path: Path) -> None:
    done = export(brats, tmp_path / "BraTs2018")
    selection = chosen(brats)
    assert done.slices["test/abnormal"] == len(selection.test_abnormals) > 0
    entry = brats.slices.iloc[selection.test_abnormals[0]]
    name = f"{entry['subject']}_slice{entry['slice']}"
    assert (done.out / "test/ABNORMAL/flair" / f"{name}.png").is_file()
    mask = read_png(done.out / "test/ABNORMAL/mask" / f"{name}_mask.png")
    assert set(np.unique(mask)) == {0, 255}
    assert not (done.out / "train/t1ce").exists() and not (done.out / "train/mask").exists()


def test_a_store_comes_back_from_its_export(brats: SliceStore, tmp_path: Path) -> None:
    done = export(brats, tmp_path / "png")
    back = prepare(done.out, PNG, tmp_path / "back")
    selection = chosen(brats)
    parts = dict(zip(PARTS, (selection.train_normals, selection.test_normals, selection.test_abnormals), strict=True))
    assert len(back) == sum(map(len, parts.values()))
    for part, rows in parts.items():
        for row in rows:
            entry = brats.slices.iloc[row]
            there = back.slices[(back.slices["scan"] == entry["subject"]) & (back.slices["slice"] == entry["slice"])]
            assert list(there["part"]) == [part]
            values, present = brats.read(np.array([row]), NAMES)
            expected = apply_scale(values, present, brats, np.array([row]), NAMES, "slice-minmax8") * 255
            own, _ = back.read(there.index.to_numpy(), NAMES)
            np.testing.assert_array_equal(own, np.rint(expected))
            abnormal = brats.abnormal(np.array([row])) & (part == "test/abnormal")
            np.testing.assert_array_equal(back.abnormal(there.index.to_numpy()), abnormal)


def contents(tree: Path) -> dict[str, tuple[str, bytes]]:
    files = sorted(tree.rglob("*.png"))
    return {f.relative_to(tree).as_posix(): (str(read_png(f).shape), read_png(f).tobytes()) for f in files}


def test_a_tree_comes_back_from_a_store_of_it(tmp_path: Path) -> None:
    tree = make_tree("anyad-png", tmp_path / "tree", 3, (20, 16, 10))
    store = prepare(tree, PNG, tmp_path / "store")
    assert export(store, tmp_path / "again").validation == 0
    assert contents(tmp_path / "again") == contents(tree)


def test_padding_of_the_store_is_not_written(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "tree", [1, 2, 3], (40, 40, 12))
    make_tree("brats2018", tree, [4], (44, 42, 12))
    store = prepare(tree, get_layout("brats2018"), tmp_path / "store")
    done = export(store, tmp_path / "png")
    sizes = {path.stem.rpartition("_")[0][-5:]: read_png(path).shape for path in (done.out).rglob("flair/*.png")}
    assert sizes["004_1"] == (42, 44) and {sizes[name] for name in sizes if name != "004_1"} == {(40, 40)}


def test_time_points_are_part_of_the_name(tmp_path: Path) -> None:
    store = prepare(make_tree("mu", tmp_path / "tree", 4), get_layout("mu"), tmp_path / "store")
    done = export(store, tmp_path / "png")
    names = [path.name for path in done.out.rglob("*.png")]
    assert names and all("_Timepoint_1_slice" in name for name in names)
    back = prepare(done.out, PNG, tmp_path / "back")
    assert set(back.scans["subject"]) <= set(store.scans["subject"])


def test_a_scan_without_a_sequence_is_counted(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "tree", 4)
    for number in (1, 2, 3):
        path_of("brats2018", tree, number, "t2").unlink()
    store = prepare(tree, get_layout("brats2018"), tmp_path / "store")
    done = export(store, tmp_path / "png")
    assert 0 < done.incomplete < sum(done.slices.values())


def test_the_same_store_gives_the_same_bytes(brats: SliceStore, tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two"):
        out = export(brats, tmp_path / name).out
        files = sorted(path for path in out.rglob("*") if path.is_file())
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])
    assert digests[0] == digests[1]


def test_a_taken_folder_is_not_touched(brats: SliceStore, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(UserError, match="exists and is not empty, and was left unchanged; name a new folder"):
        export(brats, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_inside_the_store_is_refused(brats: SliceStore) -> None:
    with pytest.raises(UserError, match="lies inside the store"):
        export(brats, brats.path / "png")


def test_a_dot_in_a_name_is_refused(tmp_path: Path) -> None:
    tree = make_tree("brats2018", tmp_path / "tree", 4)
    for kind in ("flair", "t1", "t2", "seg"):
        save(
            tree / f"HGG/Brats18_a.b_1/Brats18_a.b_1_{kind}.nii.gz",
            values_of(path_of("brats2018", tree, 1, kind))[::-1],
        )
    store = prepare(tree, get_layout("brats2018"), tmp_path / "store")
    with pytest.raises(UserError, match="has a dot in its name, where the release truncates it"):
        export_png(
            store,
            tmp_path / "png",
            select_slices(store, SliceRules(), dict.fromkeys(store.scans["subject"], "test"), ["test"]),
        )
    assert not (tmp_path / "png").exists() and not list(tmp_path.glob(".png*"))


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_the_command_says_what_it_wrote(brats: SliceStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("data", "export-png", brats.path, "--out", tmp_path / "png", "--t1ce", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["protocol"] == "brats-7subsets" and told["slices"]["train"] > 0
    assert (tmp_path / "png/test/NORMAL/t1ce").is_dir()
    assert call("data", "export-png", brats.path, "--out", tmp_path / "two") == 0
    assert "in test/abnormal, chosen by brats-7subsets." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "mu-7subsets"], "--protocol mu-7subsets reads mu, but the store is one of brats2018"),
        (["--protocol", "nothing"], "Unknown protocol 'nothing'"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], message: str, brats: SliceStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("data", "export-png", brats.path, "--out", tmp_path / "png", *arguments) == 2
    assert message in capsys.readouterr().err


def test_what_is_no_store_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("data", "export-png", tmp_path, "--out", tmp_path / "png") == 2
    assert "is not a slice store" in capsys.readouterr().err
