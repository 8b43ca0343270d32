"""One model for each set of sequences."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from grid_fixture import run
from job_fixture import planned
from safetensors.torch import load_file

from anyadbench.cells.fitting import Fitting
from anyadbench.cells.per_subset import PerSubsetFits
from anyadbench.engine.per_subset import PerSubset
from anyadbench.engine.reporter import Reporter
from anyadbench.errors import UserError
from anyadbench.methods.contract import Batch, Context, Method, Scores
from anyadbench.results import CellResult
from anyadbench.weights import resolve

SUBSETS = ["F", "T1", "T2", "F+T1", "F+T2", "T1+T2", "F+T1+T2"]
NONE = resolve("random", {"package": None}, profile="package")


class Sum(Method):
    def score(self, batch: Batch) -> Scores:
        return Scores(batch.inputs.sum(1), torch.full((len(batch),), float(batch.inputs.shape[1])))


def retrained() -> PerSubset:
    sets = [("flair",), ("t1",), ("flair", "t2")]
    models = {names: Sum(Context({}, names, (4, 4), NONE)) for names in sets}
    return PerSubset(Context({}, ("flair", "t1", "t2"), (4, 4), NONE), models)


def test_a_batch_goes_to_the_model_of_what_it_shows_without_the_rest() -> None:
    images = torch.arange(3.0).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    scores = retrained().score(Batch(images, torch.tensor([[True, False, True]] * 2)))
    assert scores.images is not None and scores.images.tolist() == [2.0, 2.0]
    assert torch.equal(scores.maps, torch.full((2, 4, 4), 2.0))


def test_a_batch_that_shows_different_sets_is_refused() -> None:
    with pytest.raises(ValueError, match="show different sequences"):
        retrained().score(Batch(torch.zeros(2, 3, 4, 4), torch.tensor([[True, False, True], [True, False, False]])))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_phantom: Path, tiny_protocol: Path) -> Path:
    runs = tmp_path_factory.mktemp("retrain") / "runs"
    words = ["run", "--method", "pixelstats", "--method", "dae", "--missing", "retrain", "--protocol"]
    done = run(*words, tiny_protocol, "--data", tiny_phantom, "--runs", runs)
    assert done.returncode == 0, done.stderr
    return runs


def test_one_fit_whose_compiler_failed_is_not_hidden_by_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ensure(self: Fitting) -> dict[str, Any]:
        return {"train_slices": 1, "compile": "fell back" if self.subset == ("t1", "t2") else "blocks"}

    monkeypatch.setattr(Fitting, "ensure", ensure)
    monkeypatch.setattr("anyadbench.cells.per_subset.needed_sets", lambda data: [("t1",), ("t1", "t2"), ("t2",)])
    fits = PerSubsetFits(Fitting(planned(tmp_path), SimpleNamespace(), Reporter()))  # type: ignore[arg-type]
    assert fits.ensure()["compile"] == "fell back"


def cell_of(runs: Path, method: str) -> Path:
    (folder,) = (runs / "cells").glob(f"{method}_*")
    return folder


@pytest.mark.parametrize("method", ["pixelstats", "dae"])
@pytest.mark.slow
def test_every_subset_has_a_fit_of_its_own(finished: Path, method: str) -> None:
    cell = cell_of(finished, method)
    folders = json.loads((cell / "manifest.json").read_text())["fit"]["folders"]
    assert sorted(folders) == sorted(SUBSETS)
    assert len(set(folders.values())) == len(SUBSETS) == len(list((finished / "fits").glob(f"{method}-*/fit.json")))
    result = CellResult.model_validate_json((cell / "result.json").read_text())
    assert result.method.missing == "retrain"
    assert [row.subset for row in result.rows] == [*SUBSETS, "as available"]
    assert all(row.metrics["pixel_auroc"] is not None for row in result.rows)


@pytest.mark.slow
def test_a_fit_knows_its_own_sequences_only(finished: Path) -> None:
    cell = cell_of(finished, "pixelstats")
    folders = json.loads((cell / "manifest.json").read_text())["fit"]["folders"]
    assert sorted(folders) == sorted(SUBSETS)
    for label, folder in folders.items():
        state = load_file(finished / "fits" / folder / "weights.safetensors")
        assert state["mean"].shape[0] == label.count("+") + 1
        assert torch.equal(state["mean"], load_file(cell / f"weights-{label}.safetensors")["mean"])
        manifest = json.loads((finished / "fits" / folder / "manifest.json").read_text())
        assert len(manifest["sequences"]) == label.count("+") + 1


def test_training_slices_have_the_whole_subset(tiny_phantom: Path, tiny_protocol: Path) -> None:
    from anyadbench.data.store.build import find_or_prepare
    from anyadbench.engine.protocol_data import ProtocolData
    from anyadbench.protocols.reader import read_protocol

    store = find_or_prepare(tiny_phantom, "phantom", lambda done, total, label: None)
    data = ProtocolData(read_protocol(tiny_protocol), {"phantom": store})
    everything = data.train_indices()
    scan = store.slices["scan"].iloc[int(everything[0])]
    store.scans.loc[scan, "has_t1"] = 0
    pair = data.train_indices(("flair", "t1"))
    assert store.present(pair, ("flair", "t1")).all()
    assert 0 < len(pair) < len(everything) == len(data.train_indices())
    with pytest.raises(UserError, match=r"--missing retrain: no training slice of tiny has all of F; leave this"):
        store.scans["has_flair"] = 0
        data.train_indices(("flair",))


def test_choosing_among_states_is_refused(tmp_path: Path, tiny_phantom: Path, tiny_protocol: Path) -> None:
    protocol = tmp_path / "chosen.toml"
    protocol.write_text('selection = "validation"\n' + tiny_protocol.read_text())
    words = ["run", "--method", "pixelstats", "--missing", "retrain", "--protocol", protocol]
    done = run(*words, "--data", tiny_phantom, "--runs", tmp_path / "runs")
    assert done.returncode == 2
    assert 'use a protocol with selection = "last".' in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_pruning_keeps_the_fits_of_every_set(finished: Path) -> None:
    from anyadbench.cells.inventory import removable

    assert list((finished / "fits").iterdir())
    assert removable(finished) == []
