"""A cell's method as one file without this project: ONNX or TorchScript."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from anyadbench.errors import UserError
from anyadbench.predict.prediction import USE
from anyadbench.run.cells import explain_os_error, make_folder, write_json
from anyadbench.sequences import all_subsets, format_subset

if TYPE_CHECKING:
    from anyadbench.predict.predictor import Predictor

INPUTS, OUTPUTS = ["slices", "availability"], ["maps", "scores"]
OPSET = 18
TOLERANCE = 1e-4
"""Largest difference between a map of the graph and of the method, relative to maps whose values exceed 1."""

RUNS = 10
"""Timed calls of one slice."""

Run = Callable[[np.ndarray, np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The graph.
        megabytes: Its size (10^6 bytes).
        difference: Largest difference between its maps and the method's, over every subset of sequences.
        milliseconds: Median time of one slice in the graph, on the CPU with torch's number of threads.
        eager_milliseconds: The same for the method as it is.
    """

    path: Path
    megabytes: float
    difference: float
    milliseconds: float
    eager_milliseconds: float


def export(predictor: Predictor, kind: str, out: Path) -> Exported:
    """Write a cell's method as a graph, and ``<out>.json`` that says what goes in and comes out.

    Args:
        predictor: On the CPU.
        kind: ``onnx`` or ``torchscript``.
        out: File to write.

    Raises:
        UserError: If the method or this installation cannot, or the graph's maps are not the method's.
    """
    graph = predictor.method.exportable()
    name = predictor.cell.job.method
    if graph is None:
        raise UserError(f"The method {name} cannot be exported: its scoring is no graph; use 'anyadbench predict'.")
    needed = [module for module in ("onnxscript", "onnxruntime") if kind == "onnx" and find_spec(module) is None]
    if needed:
        raise UserError(f"--format onnx needs {needed[0]}: 'pip install anyadbench[export]', or use torchscript.")
    graph.eval()
    example = _example(predictor)
    make_folder(out.parent)
    try:
        run = _write_onnx(graph, example, out) if kind == "onnx" else _write_torchscript(graph, example, out)
    except OSError as error:
        raise explain_os_error(error, out) from None
    eager = _eager(graph)
    difference = max(_difference(run(*example), eager(*example)), *_differences(run, eager, example))
    if not difference <= TOLERANCE:
        out.unlink()
        raise UserError(
            f"The {kind} graph of {name} gives maps that differ by {difference:.2g} from the method's (at most "
            f"{TOLERANCE:g} is accepted), so it was not kept; try the other --format."
        )
    one = (example[0][:1], example[1][:1])
    found = Exported(out, out.stat().st_size / 1e6, difference, _milliseconds(run, one), _milliseconds(eager, one))
    write_json(out.with_name(out.name + ".json"), describe(predictor, kind, found))
    return found


def describe(predictor: Predictor, kind: str, found: Exported) -> dict[str, Any]:
    """Return what a caller of the graph must know."""
    cell = predictor.cell
    height, width = cell.grid
    sequences = list(cell.protocol.sequences)
    thresholds = {
        format_subset(subset): cell.threshold(subset) if predictor.own else None
        for subset in all_subsets(cell.protocol.sequences)
    }
    rules = cell.protocol.intensity
    scale = (
        f"each sequence divided by percentile {rules.percentile:g} of its scan's values above 0, clipped to [0, 1]"
        if rules.mode == "volume"
        else "each sequence of a slice scaled from its minimum to its maximum, cut to 8 bits, divided by 255"
    )
    return {
        "use": USE,
        "format": kind,
        "inputs": {
            "slices": {"shape": ["batch", len(sequences), height, width], "dtype": "float32", "scale": scale},
            "availability": {"shape": ["batch", len(sequences)], "dtype": "bool", "meaning": "what each slice has"},
        },
        "outputs": {
            "maps": {"shape": ["batch", height, width], "meaning": "higher is more abnormal, no unit"},
            "scores": {"shape": ["batch"], "meaning": "image score of each slice"},
        },
        "sequences": sequences,
        "spacing_mm": list(cell.spacing),
        "orientation": "axial slices; rows from anterior to posterior, columns from the patient's right to left",
        "thresholds": thresholds,
        "cell": cell.result.cell_id,
        "method": cell.job.method,
        "difference": found.difference,
    }


def _example(predictor: Predictor) -> tuple[np.ndarray, np.ndarray]:
    """Return a slice of smooth noise for each subset."""
    count = len(predictor.cell.protocol.sequences)
    shown = np.array([[bool(number >> i & 1) for i in range(count)] for number in range(1, 2**count)])
    random = np.random.default_rng(0)
    height, width = predictor.cell.grid
    coarse = random.random((len(shown), count, max(height // 8, 1), max(width // 8, 1)), dtype=np.float32)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(coarse), (height, width), mode="bilinear")
    return smooth.numpy(), shown


def _write_onnx(graph: torch.nn.Module, example: tuple[np.ndarray, np.ndarray], out: Path) -> Run:
    import onnxruntime

    for name in ("onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)  # they tell of every step that they leave out
    batch = torch.export.Dim("batch")
    tensors = tuple(torch.from_numpy(array) for array in example)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns of its own parts
        torch.onnx.export(
            graph, tensors, str(out), dynamo=True, verbose=False, external_data=False, opset_version=OPSET,
            input_names=INPUTS, output_names=OUTPUTS, dynamic_shapes=({0: batch}, {0: batch}),
        )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(out), options, providers=["CPUExecutionProvider"])
    return lambda slices, shown: list(session.run(OUTPUTS, dict(zip(INPUTS, (slices, shown), strict=True))))


def _write_torchscript(graph: torch.nn.Module, example: tuple[np.ndarray, np.ndarray], out: Path) -> Run:
    tensors = tuple(torch.from_numpy(array) for array in example)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of sizes, which are fixed but for the batch
        traced: Any = torch.jit.trace(graph, tensors, check_trace=False)  # type: ignore[no-untyped-call]
        traced.save(str(out))
        loaded: Any = torch.jit.load(str(out))  # type: ignore[no-untyped-call]
    return _eager(loaded)


def _eager(module: Any) -> Run:
    def run(slices: np.ndarray, shown: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return [part.numpy() for part in module(torch.from_numpy(slices), torch.from_numpy(shown))]

    return run


def _differences(run: Run, eager: Run, example: tuple[np.ndarray, np.ndarray]) -> list[float]:
    """Return the difference for single slices: another batch size than the graph was made with."""
    singles = [(example[0][i : i + 1], example[1][i : i + 1]) for i in range(min(2, len(example[0])))]
    return [_difference(run(*one), eager(*one)) for one in singles]


def _difference(found: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    return max(
        float((np.abs(a - b) / np.maximum(1, np.abs(b))).max()) if a.shape == b.shape else float("inf")
        for a, b in zip(found, wanted, strict=True)
    )


def _milliseconds(run: Run, one: tuple[np.ndarray, np.ndarray]) -> float:
    times = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        run(*one)
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:]) * 1000)
