"""Export to ONNX and TorchScript."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from inp_fixture import GRID, SEQUENCES, build

import anyadbench
from anyadbench.errors import UserError
from anyadbench.methods.base import Batch
from anyadbench.predict.export import export
from anyadbench_anyad.descriptors import ANYAD
from anyadbench_baselines.descriptors import INPFORMER


def session(path: Path) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra export")
    pytest.importorskip("onnxscript", reason="needs the extra export")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("method", ["pixelstats", "anyad"])
def test_onnxruntime_gives_the_predictions_maps(
    method: str, trained_cells: dict[str, Path], tiny_phantom: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra export")
    predictor = anyadbench.load(trained_cells[method])
    found = export(predictor, "onnx", tmp_path / "graph.onnx")
    assert found.difference <= 1e-4
    assert found.megabytes == pytest.approx((tmp_path / "graph.onnx").stat().st_size / 1e6)
    assert min(found.milliseconds, found.eager_milliseconds) > 0
    path = tiny_phantom / "HGG" / "Phantom_001_1" / "Phantom_001_1_flair.nii.gz"
    predicted = predictor.predict({"flair": path})
    slices = predicted.data.values(np.arange(5))
    shown = np.tile(np.array([True, False, False]), (5, 1))
    maps, scores = session(tmp_path / "graph.onnx").run(None, {"slices": slices, "availability": shown})
    np.testing.assert_allclose(maps, predicted.grid_maps[:5], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scores, [item.score for item in predicted.slices[:5]], rtol=1e-3)


def test_what_is_not_available_cannot_reach_the_graphs_maps(trained_cells: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra export")
    predictor = anyadbench.load(trained_cells["pixelstats"])
    export(predictor, "onnx", tmp_path / "graph.onnx")
    slices = np.random.default_rng(0).random((1, 3, *predictor.cell.grid), dtype=np.float32)
    other = slices.copy()
    other[:, 1:] = np.nan
    run = session(tmp_path / "graph.onnx").run
    shown = np.array([[True, False, False]])
    first, second = (run(None, {"slices": x, "availability": shown})[0] for x in (slices, other))
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, run(None, {"slices": slices, "availability": np.ones((1, 3), bool)})[0])


@pytest.mark.parametrize("method", ["pixelstats", "anyad"])
def test_torchscript_runs_without_this_project(method: str, trained_cells: dict[str, Path], tmp_path: Path) -> None:
    predictor = anyadbench.load(trained_cells[method])
    assert export(predictor, "torchscript", tmp_path / "graph.pt").difference <= 1e-4
    graph = torch.jit.load(tmp_path / "graph.pt")
    slices, shown = torch.rand(4, 3, *predictor.cell.grid), torch.tensor([[True, False, True]] * 4)
    with torch.inference_mode():
        maps, _ = graph(slices, shown)
        expected = predictor.method.score(Batch(torch.where(shown[:, :, None, None], slices, 0.0), shown))
    wide = torch.nn.functional.interpolate(expected.maps[:, None], predictor.cell.grid, mode="bilinear")[:, 0]
    torch.testing.assert_close(maps, wide, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("align", ["none", "encoder", "bottleneck", "adapter", "teacher", "recalibration"])
@pytest.mark.parametrize("missing", ["native", "replicate"])
def test_every_form_of_anyad_is_a_graph(align: str, missing: str) -> None:
    method = build(ANYAD, align=align, missing=missing).eval()
    graph = method.exportable()
    assert graph is not None
    slices = torch.rand(2, len(SEQUENCES), *GRID)
    shown = torch.tensor([[True, False, True], [False, True, False]])
    with torch.no_grad():
        program = torch.export.export(graph, (slices, shown), strict=False).module()
        torch.testing.assert_close(program(slices, shown)[0], graph(slices, shown)[0])


def test_a_file_beside_the_graph_says_what_goes_in(trained_cells: dict[str, Path], tmp_path: Path) -> None:
    predictor = anyadbench.load(trained_cells["pixelstats"])
    export(predictor, "torchscript", tmp_path / "graph.pt")
    facts = json.loads((tmp_path / "graph.pt.json").read_text())
    assert facts["sequences"] == ["flair", "t1", "t2"]
    assert facts["inputs"]["slices"]["shape"] == ["batch", 3, *predictor.cell.grid]
    assert "percentile 99.8" in facts["inputs"]["slices"]["scale"]
    assert facts["thresholds"]["F"] == predictor.cell.threshold(("flair",))
    assert facts["use"] == "Research use; not a medical device."


def test_a_method_that_is_no_graph_is_refused(
    trained_cells: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = anyadbench.load(trained_cells["pixelstats"])
    monkeypatch.setattr(type(predictor.method), "exportable", lambda self: None)
    with pytest.raises(UserError, match="The method pixelstats cannot be exported: its scoring is no graph"):
        export(predictor, "onnx", tmp_path / "graph.onnx")


def test_a_graph_that_differs_is_not_kept(
    trained_cells: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anyadbench.predict.export.TOLERANCE", -1.0)
    with pytest.raises(UserError, match=r"The torchscript graph of pixelstats gives maps that differ by"):
        export(anyadbench.load(trained_cells["pixelstats"]), "torchscript", tmp_path / "graph.pt")
    assert not list(tmp_path.iterdir())


def test_what_the_format_needs_is_named(
    trained_cells: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anyadbench.predict.export.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--format onnx needs onnxscript: 'pip install anyadbench\[export\]'"):
        export(anyadbench.load(trained_cells["pixelstats"]), "onnx", tmp_path / "graph.onnx")


def test_the_command_prints_size_and_latency(trained_cells: dict[str, Path], tmp_path: Path) -> None:
    from anyadbench.cli import cli

    options = ["--cell", str(trained_cells["pixelstats"]), "--format", "torchscript", "--out", str(tmp_path / "g.pt")]
    done = CliRunner().invoke(cli, ["export", *options])
    assert done.exit_code == 0, done.output
    assert " MB; one slice " in done.output and " ms on the CPU" in done.output


def test_the_input_size_of_other_methods_is_theirs() -> None:
    graph = build(INPFORMER).eval().exportable()
    assert graph is not None
    maps, scores = graph(torch.rand(2, 3, 30, 50), torch.ones(2, 3, dtype=torch.bool))
    assert maps.shape == (2, 30, 50)
    assert scores.shape == (2,)
