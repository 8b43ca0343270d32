"""Slice scores of other programs' maps are normalised by height if there are maps of training normals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from maps_fixture import write_kept_maps

from anyadbench.boards.verify.submission import check
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.external.scored_maps import ScoreRequest, score_maps
from anyadbench.metrics.names import HEIGHT
from anyadbench.protocols.reader import read_protocol
from anyadbench.results.read import read_cells
from anyadbench.results.schema import Row


@pytest.fixture(scope="module")
def maps(trained_cells: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kept_maps(trained_cells["pixelstats"], tmp_path_factory.mktemp("maps") / "maps")


def rows(maps: Path, runs: Path, protocol_file: Path, phantom: Path) -> dict[str, Row]:
    request = ScoreRequest(maps, read_protocol(protocol_file), runs, "Other", data=(str(phantom),))
    score_maps(request, lambda done, total, text: None)
    (record,) = read_cells(runs)
    assert record.result is not None and record.result.protocol.rank_height
    return {row.subset: row for row in record.result.rows}


def test_maps_of_training_normals_give_normalised_scores(
    maps: Path, tmp_path: Path, tiny_protocol: Path, tiny_phantom: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anyadbench.data.store.build import find_or_prepare
    from anyadbench.metrics.rows import height

    monkeypatch.setattr(height, "LEAST_SLICES", 5)
    path = tmp_path / "height.toml"
    rules = "[scoring]\nnormalise_height = true\nrank_height = true\n\n[[test]]"
    path.write_text(tiny_protocol.read_text().replace("[[test]]", rules))
    without = rows(maps, tmp_path / "without", path, tiny_phantom)["F"]
    reason = "No score normalised by height: no maps of training normals were given."
    assert [(without.metrics[name], without.reasons[name]) for name in HEIGHT] == [(None, reason)] * 3

    protocol = read_protocol(path)
    data = ProtocolData(protocol, {"phantom": find_or_prepare(tiny_phantom, "phantom")})
    table = data.stores["phantom"].slices
    own = next(maps.rglob("*.npy"))
    for row in data.train_indices():
        entry, noise = table.iloc[row], np.random.default_rng(row)
        target = maps / "training/F" / entry["scan"] / f"{entry['slice']}.npy"
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, noise.random(np.load(own).shape, dtype=np.float32) * np.float32(1 + entry["brain"]))
    found = rows(maps, tmp_path / "runs", path, tiny_phantom)
    assert found["F"].metrics["image_auroc_height"] is not None
    assert found["F"].metrics["image_auroc"] == without.metrics["image_auroc"]
    assert found["T1"].metrics["image_auroc_height"] is None
    assert check(tmp_path / "runs").problems == []
