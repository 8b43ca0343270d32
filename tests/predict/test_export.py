"""Export to ONNX and TorchScript."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from anomalib_fixture import installed
from baseline_fixture import fitted
from click.testing import CliRunner
from inp_fixture import GRID, SEQUENCES, build

import anyadbench
from anyadbench.errors import UserError
from anyadbench.methods.contract import Batch, Method, Scores
from anyadbench.plugins import load_methods
from anyadbench.predict.export import TOLERANCE, _difference, export
from anyadbench.predict.predictor import Predictor
from anyadbench_anyad.descriptors import ANYAD
from anyadbench_baselines.descriptors import INPFORMER

METHODS = load_methods()
BASELINES = [name for name, d in METHODS.items() if d.factory.startswith("anyadbench_baselines.")]
FAST = {
    *((name, "torchscript", "native") for name in ("anypatchcore", "dae", "dpmm", "gatingano", "rd4ad")),
    *((name, "torchscript", "replicate") for name in ("dae", "skipts")),
    ("dae", "onnx", "native"),
}
"""Cases in every test run; the others are slow together."""


def session(path: Path) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra export")
    pytest.importorskip("onnxscript", reason="needs the extra export")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("method", ["pixelstats", pytest.param("anyad", marks=pytest.mark.slow)])
@pytest.mark.slow
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
@pytest.mark.slow
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


def cases() -> list[Any]:
    """Return every baseline with every format, with its own missing-sequence policy and with the simplest one."""
    found = [
        (name, kind, missing)
        for name in BASELINES
        for kind in ("torchscript", "onnx")
        for missing in ("native", "replicate")
        if missing in METHODS[name].missing_policies
    ]
    return [pytest.param(*case, marks=() if case in FAST else pytest.mark.slow) for case in found]


@pytest.mark.parametrize(("name", "kind", "missing"), cases())
@pytest.mark.slow
def test_every_baseline_is_a_graph(
    name: str, kind: str, missing: str, trained_cells: dict[str, Path], tmp_path: Path
) -> None:
    agree(kind, fitted(METHODS[name], missing=missing), trained_cells, tmp_path / "graph")


@installed
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torchscript", "onnx"])
@pytest.mark.parametrize("name", ["padim", "stfpm"])
def test_models_of_anomalib_are_graphs(name: str, kind: str, trained_cells: dict[str, Path], tmp_path: Path) -> None:
    agree(kind, fitted(METHODS[f"anomalib:{name}"]), trained_cells, tmp_path / "graph")


def agree(kind: str, method: Method, trained_cells: dict[str, Path], path: Path) -> None:
    """Export a method and compare with its scores, on other slices than the exporter's and another number of them."""
    if kind == "onnx":
        pytest.importorskip("onnxscript", reason="needs the extra export")
    predictor = holding(method, trained_cells)
    assert export(predictor, kind, path).difference <= 1e-4
    run = runner(kind, path)
    slices = np.random.default_rng(3).random((5, 3, *predictor.cell.grid), dtype=np.float32)
    shown = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 1], [0, 0, 1], [0, 1, 0]], dtype=bool)
    wanted = scored(method, slices, shown)
    other = np.where(shown[:, :, None, None], slices, np.nan).astype(np.float32)
    for values in (slices, other):
        for found, expected in zip(run(values, shown), wanted, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert not np.allclose(run(slices, np.ones_like(shown))[0], wanted[0], rtol=1e-3, atol=1e-3)


def holding(method: Method, trained_cells: dict[str, Path]) -> Predictor:
    """Return a predictor with another method than its cell's."""
    return replace(anyadbench.load(trained_cells["pixelstats"]), method=method)


def runner(kind: str, path: Path) -> Callable[[np.ndarray, np.ndarray], list[np.ndarray]]:
    """Return a function that runs an exported file."""
    if kind == "onnx":
        held = session(path)
        return lambda slices, shown: held.run(None, {"slices": slices, "availability": shown})
    graph = torch.jit.load(path)

    @torch.inference_mode()
    def run(slices: np.ndarray, shown: np.ndarray) -> list[np.ndarray]:
        return [part.numpy() for part in graph(torch.from_numpy(slices), torch.from_numpy(shown))]

    return run


@torch.inference_mode()
def scored(method: Method, slices: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a method's maps on the slices' grid and its image scores, from shown sequences alone."""
    mask = torch.from_numpy(shown)
    scores = method.score(Batch(torch.from_numpy(slices) * mask[:, :, None, None], mask))
    maps = torch.nn.functional.interpolate(scores.maps[:, None], slices.shape[2:], mode="bilinear")[:, 0]
    top = maps.flatten(1).sort(dim=1, descending=True).values[:, : slices[0, 0].size // 100].mean(1)
    return maps.numpy(), (top if scores.images is None else scores.images).numpy()


@pytest.mark.parametrize("align", ["none", "encoder", "bottleneck", "adapter", "teacher", "recalibration"])
@pytest.mark.parametrize("missing", ["native", "replicate"])
@pytest.mark.slow
def test_every_form_of_anyad_is_a_graph(align: str, missing: str) -> None:
    method = build(ANYAD, align=align, missing=missing).eval()
    graph = method.exportable()
    assert graph is not None
    slices = torch.rand(2, len(SEQUENCES), *GRID)
    shown = torch.tensor([[True, False, True], [False, True, False]])
    with torch.no_grad():
        program = torch.export.export(graph, (slices, shown), strict=False).module()
        torch.testing.assert_close(program(slices, shown)[0], graph(slices, shown)[0])


def test_a_file_next_to_the_graph_describes_its_inputs(trained_cells: dict[str, Path], tmp_path: Path) -> None:
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
    with pytest.raises(UserError, match="The method pixelstats cannot be exported: its scoring is not a graph"):
        export(predictor, "onnx", tmp_path / "graph.onnx")


def test_a_graph_that_differs_is_not_kept(
    trained_cells: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "graph.pt").write_text("older")
    monkeypatch.setattr("anyadbench.predict.export.TOLERANCE", -1.0)
    with pytest.raises(UserError, match=r"The torchscript graph of pixelstats gives maps that differ by"):
        export(anyadbench.load(trained_cells["pixelstats"]), "torchscript", tmp_path / "graph.pt")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


@pytest.mark.parametrize("kind", ["torchscript", "onnx"])
def test_what_branches_on_the_example_is_not_kept(
    kind: str, trained_cells: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxscript", reason="needs the extra export")
    predictor = anyadbench.load(trained_cells["pixelstats"])
    score = type(predictor.method).score
    monkeypatch.setattr(type(predictor.method), "score", lambda self, batch: brightened(score(self, batch), batch))
    what = {"torchscript": "gives maps that differ by", "onnx": r"cannot be exported as onnx \("}[kind]
    with pytest.raises(UserError, match=what):
        export(predictor, kind, tmp_path / "graph")
    assert not list(tmp_path.iterdir())


def brightened(scores: Scores, batch: Batch) -> Scores:
    # Noise of mean 0.5: 0.29 over all subsets, 0.17 with one of three sequences shown.
    return Scores(scores.maps * 2) if batch.inputs.mean() > 0.23 else scores


@pytest.mark.parametrize(
    ("kind", "other", "raised", "cause"),
    [
        ("torchscript", "onnx", RuntimeError("\x1b[96mno such operator\x1b[0m.\nA trace of it"), "no such operator"),
        ("onnx", "torchscript", ValueError(""), "ValueError"),
        ("torchscript", "onnx", RuntimeError("in the TorchScript interpreter.\ncode\nbad shape\n"), "bad shape"),
    ],
)
def test_an_exporter_that_fails_ends_in_a_sentence(
    kind: str,
    other: str,
    raised: Exception,
    cause: str,
    trained_cells: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from anyadbench.cli import cli

    def fail(*args: Any) -> None:
        raise KeyError("outer") from raised

    pytest.importorskip("onnxscript", reason="needs the extra export")
    monkeypatch.setattr(f"anyadbench.predict.export._as_{kind}", fail)
    options = ["--cell", str(trained_cells["pixelstats"]), "--format", kind, "--out", str(tmp_path / "graph")]
    done = CliRunner().invoke(cli, ["export", *options])
    assert done.exit_code and isinstance(done.exception, (SystemExit, UserError))
    told = done.output + str(done.exception)
    assert f"pixelstats cannot be exported as {kind} ({cause}); try --format {other}, or use 'anyadbench" in told
    assert "Traceback" not in done.output
    assert not list(tmp_path.iterdir())


def test_a_cell_of_one_sequence_takes_any_number_of_slices(trained_cells: dict[str, Path], tmp_path: Path) -> None:
    method = fitted(METHODS["dae"], steps=0, sequences=("t1",))
    predictor = holding(method, trained_cells)
    protocol = replace(predictor.cell.protocol, sequences=("t1",), subsets=(("t1",),))
    predictor = replace(predictor, cell=replace(predictor.cell, protocol=protocol), own=False)
    export(predictor, "torchscript", tmp_path / "graph.pt")
    slices, shown = (
        np.random.default_rng(0).random((5, 1, *predictor.cell.grid), dtype=np.float32),
        np.ones((5, 1), bool),
    )
    found = runner("torchscript", tmp_path / "graph.pt")(slices, shown)
    np.testing.assert_allclose(found[0], scored(method, slices, shown)[0], rtol=1e-4, atol=1e-4)


def test_the_low_frequencies_of_a_graph_are_those_of_the_transform() -> None:
    from anyadbench_baselines.mmrad_net import _low_frequencies, high_frequencies

    pixels = torch.rand(2, 3, 24, 31)
    half = int((24 * 31 * 0.25) ** 0.5 // 2)
    torch.testing.assert_close((pixels - _low_frequencies(pixels, half)).abs(), high_frequencies(pixels, 0.25))


def test_what_the_format_needs_is_named(
    trained_cells: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anyadbench.predict.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--format onnx needs onnxscript: 'pip install anyadbench\[export\]'"):
        export(anyadbench.load(trained_cells["pixelstats"]), "onnx", tmp_path / "graph.onnx")


def test_the_command_looks_for_packages_before_it_reads_the_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anyadbench.cli import cli

    monkeypatch.setattr("anyadbench.predict.find_spec", lambda name: None if name == "onnxruntime" else name)
    done = CliRunner().invoke(cli, ["export", "--cell", str(tmp_path / "no cell"), "--format", "onnx"])
    assert isinstance(done.exception, UserError)
    assert str(done.exception).startswith("--format onnx needs onnxruntime: ")
    done = CliRunner().invoke(cli, ["export", "--cell", str(tmp_path / "no cell"), "--format", "torchscript"])
    assert "no cell" in str(done.exception)


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


@pytest.mark.parametrize("size", [1e-5, 1.0, 1e4])
def test_what_is_taken_for_rounding_shrinks_with_the_maps(size: float) -> None:
    maps = size * np.random.default_rng(0).random((2, 8, 8), dtype=np.float32)
    assert _difference([maps], [maps], [maps]) == 0
    assert _difference([maps * np.float32(1 + 1e-6)], [maps], [maps]) < TOLERANCE
    assert _difference([maps[::-1]], [maps], [maps]) > TOLERANCE
    assert _difference([np.zeros_like(maps)], [maps], [maps]) > TOLERANCE
    assert not _difference([maps * np.nan], [maps], [maps]) <= TOLERANCE
    assert _difference([maps[:1]], [maps], [maps]) == float("inf")
    assert _difference([maps[:1, :1, :1] + np.float32(size * 1e-6)], [maps[:1, :1, :1]], [maps]) < TOLERANCE
