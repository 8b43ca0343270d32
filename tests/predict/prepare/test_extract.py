"""Brain extraction: what is run, what is refused, and how a network's answer becomes a mask."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from anyadbench.data.trees.volume import Volume, canonical_volume
from anyadbench.errors import UserError
from anyadbench.predict.prepare import extract


def head(shape: tuple[int, int, int] = (40, 48, 40), step: float = 4.0) -> Volume:
    array = np.random.default_rng(0).integers(1, 100, shape).astype(np.float32)
    return canonical_volume(Path("head.nii.gz"), array, np.diag([-step, -step, step, 1.0]))


def test_without_the_package_one_sentence_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extract, "files", missing)
    with pytest.raises(UserError, match="Brain extraction needs the Python package deepbet==1.0.2: run 'pip install"):
        extract.model_file(extract.FINDER)


def test_a_file_with_another_hash_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.pt").write_bytes(b"other code")
    entry = SimpleNamespace(name="model.pt", locate=lambda: tmp_path / "model.pt")
    monkeypatch.setattr(extract, "files", lambda name: [entry])
    with pytest.raises(UserError, match="and is not run, since TorchScript is code: run 'pip install --no-deps"):
        extract.model_file(extract.OUTLINER)
    with pytest.raises(UserError, match="lacks its file bbox_model.pt"):
        extract.model_file(extract.FINDER)


@pytest.mark.parametrize(("share", "left"), [(0.0, "nothing that can be a brain"), (1.0, "more than a brain")])
def test_an_extraction_of_nothing_or_everything_is_refused(
    share: float, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "_run", lambda name, values, size, device: np.full(values.shape, share))
    with pytest.raises(UserError, match=f"head.nii.gz: brain extraction leaves {left}"):
        extract.find_brain(head())


def test_the_outline_is_the_largest_piece_without_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = head()
    coarse = np.zeros(volume.shape, bool)
    coarse[8:32, 8:40, 8:32] = True

    def answer(name: str, values: np.ndarray, size: tuple[int, int, int], device: str) -> np.ndarray:
        assert name == extract.OUTLINER and values.shape == (26, 36, 26)  # 5 % more on each side
        found = np.zeros(values.shape)
        found[3:20, 3:30, 3:20] = 1
        found[10, 10, 10] = 0
        found[-1, -1, -1] = 1
        return found

    monkeypatch.setattr(extract, "_run", answer)
    mask = extract.outline_brain(volume, coarse)
    assert mask.sum() == 17 * 27 * 17 and mask[17, 16, 17] and not mask[32, 41, 32]


def test_the_networks_find_the_brain_of_a_raw_head() -> None:
    folder = Path(os.environ.get("ANYADBENCH_SHARED", "")) / "data" / "raw-heads"
    if not folder.is_dir():
        pytest.skip("ANYADBENCH_SHARED has no data/raw-heads")
    try:
        extract.model_file(extract.FINDER)
    except UserError as error:
        pytest.skip(str(error))
    from anyadbench.data.trees.volume import read_volume

    lesions = read_volume(folder / "Subj1_FL_DLWMLS.nii.gz").array > 0
    volume = read_volume(folder / "Subj1_FL.nii.gz")
    mask = extract.find_brain(volume)
    assert 1200 < mask.sum() * 8 / 1000 < 1900
    assert mask[lesions].mean() > 0.99
