"""Each mistake ends with one sentence that names file, cause and fix, exit code 2, and nothing in the runs folder."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from anyadbench.cli import main


@pytest.fixture
def tree(tiny_phantom: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_phantom, tmp_path / "tree"))


def scan(tree: Path, kind: str) -> Path:
    return sorted(tree.rglob(f"*_{kind}.nii.gz"))[0]


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0), capsys.readouterr().err


def check(capsys: pytest.CaptureFixture[str], runs: Path, *arguments: object) -> str:
    code, said = call(capsys, "run", *arguments, "--runs", runs)
    lines = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert code == 2, said
    assert len(lines) == 1, said
    assert "Traceback" not in said
    assert not runs.exists()
    return lines[0]


def edit(path: Path, change: Callable[[np.ndarray], np.ndarray], affine: np.ndarray | None = None) -> None:
    image = nib.load(path)
    array = change(np.asanyarray(image.dataobj))
    nib.save(nib.Nifti1Image(array, image.affine if affine is None else affine), path)


def truncate(tree: Path) -> None:
    path = scan(tree, "flair")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def shifted(tree: Path) -> None:
    path = scan(tree, "t2")
    moved = nib.load(path).affine.copy()
    moved[0, 3] += 30
    edit(path, lambda a: a, moved)


def with_nan(array: np.ndarray) -> np.ndarray:
    array = array.astype(np.float32)
    array[10, 10, 10] = np.nan
    return array


DAMAGE: list[tuple[str, Callable[[Path], object], str]] = [
    ("truncated", truncate, "flair.nii.gz"),
    ("empty", lambda t: scan(t, "flair").write_bytes(b""), "flair.nii.gz"),
    ("no image", lambda t: scan(t, "t1").write_bytes(b"hello" * 200), "t1.nii.gz"),
    ("4D", lambda t: edit(scan(t, "t2"), lambda a: np.stack([a, a], -1)), "t2.nii.gz"),
    ("shape", lambda t: edit(scan(t, "t1"), lambda a: a[:-2]), "t1.nii.gz"),
    ("affine", shifted, "t2.nii.gz"),
    ("NaN", lambda t: edit(scan(t, "flair"), with_nan), "flair.nii.gz"),
    ("fractional", lambda t: edit(scan(t, "seg"), lambda a: a.astype(np.float32) * 0.7), "seg.nii.gz"),
]


@pytest.mark.parametrize(("damage", "file"), [case[1:] for case in DAMAGE], ids=[case[0] for case in DAMAGE])
def test_a_damaged_volume_is_named(
    damage: Callable[[Path], object], file: str, tree: Path, tiny_protocol: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    damage(tree)
    said = check(capsys, tmp_path / "runs", "--method", "pixelstats", "--protocol", tiny_protocol, "--data", tree)
    assert file in said
    assert ";" in said, "cause and fix are two parts of one sentence"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "anyadd"], "No installed plugin offers the method 'anyadd'. Did you mean 'anyad'"),
        (["--method", "nothing:*"], "matches no installed method"),
        (["--method", "pixelstats", "--set", "pixelstats.flor=1"], "no parameter 'flor'. Did you mean 'floor'"),
        (
            ["--method", "pixelstats", "--set", "pixelstats.floor=x"],
            "pixelstats.floor is of type float, and 'x' is not",
        ),
        (["--method", "pixelstats", "--set", "floor=1"], "is not of the form METHOD.NAME=VALUE"),
        (["--method", "pixelstats", "--set", "anyad.steps=1"], "which this run does not include"),
        (["--method", "anyad", "--set", "anyad.align=magic"], "anyad.align cannot be 'magic'; choose one of"),
        (["--method", "anyad", "--set", "anyad.lr=-1"], "must lie between"),
        (["--method", "anyad", "--weights", "file:/no/such/file.safetensors"], "/no/such/file.safetensors"),
        (["--method", "anyad", "--weights", "some"], "'some'"),
        (["--method", "anyad", "--set", "anyad.lr=inf"], "must lie between"),
        (["--method", "anyad", "--set", "anyad.image_size=100"], "must be a multiple of 14, e.g. 98"),
        (["--method", "pixelstats", "--missing", "black"], "pixelstats does not follow it; it knows native"),
        (["--method", "pixelstats", "--precision", "float16", "--device", "cpu"], "float16 needs a GPU"),
    ],
)
def test_a_wrong_option_is_named(
    arguments: list[str], message: str, tiny_phantom: Path, tiny_protocol: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    said = check(capsys, tmp_path / "runs", *arguments, "--protocol", tiny_protocol, "--data", tiny_phantom)
    assert message in said


def test_a_missing_folder_is_named(tiny_protocol: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    said = check(capsys, runs, "--method", "pixelstats", "--protocol", tiny_protocol, "--data", tmp_path / "none")
    assert "there is no such folder" in said


LONG = "n" * 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "pixelstats", "--data", "~nosuch/x"], "--data ~nosuch/x: there is no such folder"),
        (["--method", "pixelstats", "--data", LONG], f"{LONG}: File name too long; give another path"),
        (["--method", "anyad", "--weights", f"file:{LONG}"], f"{LONG}: File name too long; give another path"),
    ],
)
def test_an_impossible_path_is_named(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = check(capsys, tmp_path / "runs", *arguments, "--protocol", "brats-7subsets")
    assert message in said


@pytest.mark.parametrize("cell", ["~nosuch/c", LONG])
def test_an_impossible_cell_is_named(cell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = call(capsys, "predict", "--cell", cell, "--flair", "f.nii.gz", "--out", tmp_path / "out")
    assert code == 2
    assert said.startswith("Error: ") and said.count("\n") == 1 and cell in said
    assert not (tmp_path / "out").exists()


def test_a_folder_without_search_permission_is_named(
    tiny_phantom: Path, tiny_protocol: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    runs, stat = tmp_path / "locked" / "runs", os.stat

    def refused(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(f"{runs}"):  # as the system does, but root may search every folder
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, *arguments, **options)

    runs.parent.mkdir()
    monkeypatch.setattr(os, "stat", refused)
    arguments = ["--method", "pixelstats", "--protocol", tiny_protocol, "--data", tiny_phantom]
    code, said = call(capsys, "run", *arguments, "--runs", runs)
    assert code == 2
    assert f"Error: {runs}" in said and "Permission denied; give another path" in said
    assert "Traceback" not in said


def test_an_error_without_a_cause_of_the_system_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise OSError("not the system's")

    monkeypatch.setattr("anyadbench.cli.cli.main", broken)
    with pytest.raises(OSError, match="not the system's"):
        main([])


def test_an_unknown_protocol_gets_a_suggestion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = check(capsys, tmp_path / "runs", "--method", "pixelstats", "--protocol", "phantom-7subset")
    assert "Did you mean 'phantom-7subsets'" in said


def test_a_protocol_on_real_data_asks_for_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = check(capsys, tmp_path / "runs", "--method", "pixelstats", "--protocol", "brats-7subsets")
    assert "reads the data set 'brats2018': give its folder with --data DIR" in said


def test_data_of_another_name_is_refused(
    tiny_protocol: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--method", "pixelstats", "--protocol", tiny_protocol, "--data", f"mslub={tmp_path}"]
    assert "reads phantom, not 'mslub'" in check(capsys, tmp_path / "runs", *arguments)


def test_an_unknown_launcher_is_named(
    tiny_phantom: Path, tiny_protocol: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--method", "pixelstats", "--protocol", tiny_protocol, "--data", tiny_phantom, "--launcher", "locl"]
    assert "Unknown launcher 'locl'. Did you mean 'local'" in check(capsys, tmp_path / "runs", *arguments)


def test_a_set_without_lesions_is_named(
    tree: Path, tiny_protocol: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in tree.rglob("*_seg.nii.gz"):
        edit(path, np.zeros_like)
    said = check(capsys, tmp_path / "runs", "--method", "pixelstats", "--protocol", tiny_protocol, "--data", tree)
    assert "lesion" in said


def test_a_set_without_lesion_free_slices_is_named(
    tree: Path, tiny_protocol: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in tree.rglob("*_seg.nii.gz"):
        edit(path, np.ones_like)
    said = check(capsys, tmp_path / "runs", "--method", "pixelstats", "--protocol", tiny_protocol, "--data", tree)
    assert "lesion-free" in said


def test_runs_that_is_no_folder_is_named(
    tiny_phantom: Path, tiny_protocol: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    arguments = ["--method", "pixelstats", "--protocol", tiny_protocol, "--data", tiny_phantom]
    code, said = call(capsys, "run", *arguments, "--runs", tmp_path / "file")
    assert code == 2
    assert "cannot be written" in said


def test_two_folders_for_one_data_set_are_refused(
    tiny_phantom: Path, tiny_protocol: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--method", "pixelstats", "--protocol", tiny_protocol, "--data", tiny_phantom, "--data", tiny_phantom]
    assert "two folders for 'phantom'" in check(capsys, tmp_path / "runs", *arguments)


def test_a_disk_that_is_full_while_writing_ends_in_one_sentence(
    tiny_phantom: Path, tiny_protocol: Path, tmp_path: Path
) -> None:
    import subprocess
    import sys

    runs = tmp_path / "runs"
    arguments = ["--method", "pixelstats", "--protocol", str(tiny_protocol), "--data", str(tiny_phantom)]
    filling = (
        "import errno, sys\nimport numpy as np\n"
        "def full(*a, **k):\n    raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "np.savez_compressed = full\n"
    )
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(filling)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-m", "anyadbench", "run", *arguments, "--runs", str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2, done.stderr
    assert "The disk is full while writing" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_reported_in_one_sentence(tmp_path: Path) -> None:
    from anyadbench.errors import UserError
    from anyadbench.files import explain_os_error

    said = explain_os_error(OSError(errno.ENOSPC, "No space left on device"), tmp_path / "result.json")
    assert isinstance(said, UserError)
    assert "The disk is full while writing" in str(said)
    assert "it resumes" in str(said)


def test_a_folder_that_cannot_be_written_is_reported_in_one_sentence(tmp_path: Path) -> None:
    from anyadbench.errors import UserError
    from anyadbench.files import explain_os_error

    said = explain_os_error(PermissionError(errno.EACCES, "Permission denied"), tmp_path / "x")
    assert isinstance(said, UserError)
    assert "give --runs a folder that you may write to" in str(said)


def test_an_unknown_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = call(capsys, "runn")
    assert code == 2
    assert "Unknown command 'runn'. Did you mean 'run'" in said
