"""``anyadbench data verify`` and ``anyadbench data prepare``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from trees import make_tree, save

from anyadbench.cli import main
from anyadbench.data.store.store import open_store
from anyadbench.data.trees.scan_slices import FORMAT

TINY = (16, 16, 6)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANYADBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def test_a_sound_tree_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 2, TINY)
    assert call("data", "verify", "brats2018", "--source", tree) == 0
    assert "brats2018: 2 scans can be used, 0 would be left out" in capsys.readouterr().out


def test_a_warning_alone_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 2, TINY, ["odd-label"])
    assert call("data", "verify", "brats2018", "--source", tree) == 0
    assert capsys.readouterr().out.startswith("warning: HGG/Brats18_CBICA_A001_1/")


def test_an_error_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 2, TINY, ["empty", "fractional"])
    assert call("data", "verify", "brats2018", "--source", tree) == 1
    out = capsys.readouterr().out
    assert out.count("error: ") == 2 and "1 scan can be used, 1 would be left out (2 errors, 0 warnings)" in out


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = make_tree("mu", tmp_path / "source", 2, TINY, ["mu-missing"])
    assert call("data", "verify", "mu", "--source", tree, "--json") == 1
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert answer["usable"] == 2 and len(answer["left_out"]) == 2 and not captured.err
    assert set(answer["problems"][0]) == {"file", "cause", "fix", "severity", "scan"}


@pytest.mark.parametrize("command", ["verify", "prepare"])
def test_mistakes_are_one_sentence_and_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert call("data", command, "brats2018", "--source", tmp_path / "none") == 2
    sentence = f"The folder {tmp_path / 'none'} does not exist; check the path given as the source."
    assert capsys.readouterr().err == f"Error: {sentence}\n"
    assert call("data", command, "brats20188", "--source", tmp_path) == 2
    assert "Did you mean 'brats2018'?" in capsys.readouterr().err


def test_prepare_lists_what_it_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 3, TINY, ["empty"])
    assert call("data", "prepare", "brats2018", "--source", tree, "--out", tmp_path / "store") == 0
    out = capsys.readouterr().out
    assert "is empty (0 bytes)" in out and "of 2 scans and 2 subjects; 1 scan left out, 0 warnings." in out
    assert len(open_store(tmp_path / "store").scans) == 2


def test_prepare_goes_to_the_cache_by_default(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 2, TINY)
    assert call("data", "prepare", "brats2018", "--source", tree, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert Path(answer["store"]).parent == cache.resolve() / "stores" and answer["quarantine"] == []
    assert answer["content_hash"] == open_store(answer["store"]).content_hash


def test_prepare_refuses_its_own_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = make_tree("brats2018", tmp_path / "source", 2, TINY)
    assert call("data", "prepare", "brats2018", "--source", tree, "--out", tree) == 2
    assert "--source and the store are the same folder" in capsys.readouterr().err


def test_the_command_imports_nothing_heavy() -> None:
    code = (
        "import sys, anyadbench.cli.data, anyadbench.data.trees.layouts, anyadbench.data.trees.survey\n"
        "import anyadbench.data.slices.rules\n"
        "print([name for name in ('numpy', 'pandas', 'nibabel', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_verify_compares_with_other_stores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = make_tree("brats2018", tmp_path / "a", 1, TINY)
    assert call("data", "prepare", "brats2018", "--source", first, "--out", tmp_path / "store") == 0
    second = make_tree("mu", tmp_path / "b", [1], TINY)
    capsys.readouterr()
    assert call("data", "verify", "mu", "--source", second, "--against", tmp_path / "store") == 0
    said = capsys.readouterr().out
    assert "warning: " in said and "do not train on one set and test on the other" in said
    assert call("data", "verify", "mu", "--source", second, "--against", tmp_path / "none") == 2


def test_a_store_of_another_set_or_version_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = make_tree("brats2018", tmp_path / "a", 1, TINY)
    assert call("data", "prepare", "brats2018", "--source", tree, "--out", tmp_path / "store") == 0
    path = tmp_path / "store" / "store.json"
    path.write_text(path.read_text().replace(f'"format": {FORMAT}', '"format": 0'))
    assert call("data", "export-png", tmp_path / "store", "--out", tmp_path / "png") == 2
    said = f"has format 0, but this version of anyadbench reads format {FORMAT}; delete it"
    assert said in capsys.readouterr().err


def test_a_run_mentions_in_one_line_that_a_background_was_subtracted(
    tiny_phantom: Path, tiny_protocol: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = Path(shutil.copytree(tiny_phantom, tmp_path / "tree"))
    for path in tree.rglob("*.nii.gz"):
        if not path.name.endswith("_seg.nii.gz"):
            image = nib.loadsave.load(path)
            save(path, np.asarray(image.dataobj, np.float32) - 64, image.affine)
    command = ["run", "--method", "pixelstats", "--protocol", tiny_protocol, "--data", tree, "--launcher", "shell"]
    assert call(*command, "--runs", tmp_path / "runs") == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "subtracted" in line]
    assert line.startswith("phantom: ") and "has the value -64 outside the brain" in line
