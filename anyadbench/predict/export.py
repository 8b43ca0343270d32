"""Export of a cell's method as one file that runs without this project: ONNX or TorchScript."""

from __future__ import annotations

import io
import logging
import re
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from anyadbench.data.slices.harmonise import ABOVE, BELOW
from anyadbench.data.slices.rules import HISTOGRAM, PERCENTILE, ZSCORE, GeometryRules
from anyadbench.data.trees.scan_slices import LANDMARKS
from anyadbench.errors import UserError
from anyadbench.files import json_bytes, write_together
from anyadbench.folders import temporary_folder
from anyadbench.methods.graph import ScoreGraph
from anyadbench.plugins.blame import plugin_place
from anyadbench.predict import check_packages
from anyadbench.predict.agreement import allowed
from anyadbench.predict.prediction import USE
from anyadbench.sequences import all_subsets, format_subset

if TYPE_CHECKING:
    from anyadbench.predict.predictor import Predictor

INPUTS, OUTPUTS = ["slices", "availability"], ["maps", "scores"]
OPSET = 18
TOLERANCE = 1e-4
"""Largest difference between a map of the graph and of the method; see ``allowed``."""

CAUSE = 200
"""Number of characters shown of an exporter's error."""

_SCALES = {
    PERCENTILE: "each sequence divided by percentile {percentile:g} of its scan's values above 0, clipped to [0, 1]",
    ZSCORE: f"each sequence of a scan mapped linearly: {BELOW:g} standard deviations below the mean of its values "
    f"other than 0 become 0, and {ABOVE:g} above it 1; clipped to [1/255, 1], with 0 kept as 0",
    HISTOGRAM: "each sequence of a scan mapped piecewise linearly: percentiles of its values other than 0 become the "
    "heights of standard_scale; clipped to [1/255, 1], with 0 kept as 0",
    "slice-minmax8": "each sequence of a slice scaled from its minimum to its maximum, truncated to 8 bits, divided by "
    "255",
}

RUNS = 10
"""Number of timed calls with one slice."""

Run = Callable[[np.ndarray, np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        path: The graph.
        megabytes: Its size (10^6 bytes).
        difference: Largest difference between its maps and the method's, over every subset of sequences.
        milliseconds: Median time of one slice in the graph, on the CPU with torch's number of threads.
        eager_milliseconds: The same for the method itself.
    """

    path: Path
    megabytes: float
    difference: float
    milliseconds: float
    eager_milliseconds: float


def export(predictor: Predictor, kind: str, out: Path) -> Exported:
    """Write a cell's method as a graph, and ``<out>.json`` that describes its inputs and outputs.

    Args:
        predictor: Predictor on the CPU.
        kind: ``onnx`` or ``torchscript``.
        out: File to write.

    Raises:
        UserError: If the method or this installation cannot export, or the graph's maps differ from the method's.
    """
    graph = predictor.method.exportable()
    name = predictor.cell.job.method
    protocol = predictor.cell.protocol
    if protocol.geometry != GeometryRules() or protocol.scoring.smoothing_size or protocol.scoring.top_fraction:
        raise UserError(
            f"A cell of {protocol.name} cannot be exported: its protocol crops slices or filters maps, which a "
            "graph of the method cannot; export a cell of another protocol, or use 'anyadbench predict'."
        )
    if graph is None:
        raise UserError(f"The method {name} cannot be exported: its scoring is not a graph; use 'anyadbench predict'.")
    check_packages(kind)
    graph.eval()
    example = _example(predictor)
    with temporary_folder(out, "--out"):
        pass  # a folder that cannot be written is found before the work, not after it
    eager = _eager(ScoreGraph(predictor.method))
    make = _as_onnx if kind == "onnx" else _as_torchscript
    try:
        data, run = make(graph, example)
        whole = eager(*example)
        difference = max(_difference(run(*batch), eager(*batch), whole) for batch in _batches(example))
    except UserError:
        raise
    except Exception as error:  # errors of the exporters, torch and onnxruntime share no class
        raise UserError(_why_not(name, kind, error)) from error
    if not difference <= TOLERANCE:
        raise UserError(
            f"The {kind} graph of {name} gives maps that differ by {difference:.2g} from the method's (at most "
            f"{TOLERANCE:g} is accepted), so it was not kept; try the other --format."
        )
    one = (example[0][:1], example[1][:1])
    found = Exported(out, len(data) / 1e6, difference, _milliseconds(run, one), _milliseconds(eager, one))
    facts = json_bytes(describe(predictor, kind, found))
    write_together({out: data, out.with_name(out.name + ".json"): facts}, "--out")
    return found


def describe(predictor: Predictor, kind: str, found: Exported) -> dict[str, Any]:
    """Return the description that a caller of the graph needs."""
    cell = predictor.cell
    height, width = cell.grid
    sequences = list(cell.protocol.sequences)
    thresholds = {
        format_subset(subset): cell.threshold(subset) if predictor.own else None
        for subset in all_subsets(cell.protocol.sequences)
    }
    rules = cell.protocol.intensity
    scale = _SCALES[rules.harmonise if rules.mode == "volume" else rules.mode].format(percentile=rules.percentile)
    return {
        "use": USE,
        "format": kind,
        "inputs": {
            "slices": {"shape": ["batch", len(sequences), height, width], "dtype": "float32", "scale": scale},
            **(
                {"standard_scale": {"percentiles": list(LANDMARKS), "heights": dict(cell.standard)}}
                if cell.standard
                else {}
            ),
            "availability": {"shape": ["batch", len(sequences)], "dtype": "bool", "meaning": "sequences of each slice"},
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


def _why_not(method: str, kind: str, error: Exception) -> str:
    """Return one sentence on an exporter's error, from its first cause, which is the most informative."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line for line in re.sub(r"\x1b\[[\d;]*m", "", str(cause)).splitlines() if line.strip()]
    # TorchScript's interpreter quotes its code first and the error last.
    line = (lines[-1 if "TorchScript interpreter" in str(cause) else 0] if lines else type(cause).__name__).strip()
    other = "torchscript" if kind == "onnx" else "onnx"
    place = plugin_place(cause)
    return (
        f"The method {method} cannot be exported as {kind} ({line[:CAUSE].rstrip('.')}{place and ', at '}{place}); "
        f"try --format {other}, or use 'anyadbench predict'."
    )


def _example(predictor: Predictor) -> tuple[np.ndarray, np.ndarray]:
    """Return a slice of smooth noise for each subset, at least two: with one, the exporter would fix the batch size."""
    count = len(predictor.cell.protocol.sequences)
    shown = np.array([[bool(number >> i & 1) for i in range(count)] for number in range(1, 2**count)])
    shown = np.tile(shown, (2 if len(shown) == 1 else 1, 1))
    random = np.random.default_rng(0)
    height, width = predictor.cell.grid
    coarse = random.random((len(shown), count, max(height // 8, 1), max(width // 8, 1)), dtype=np.float32)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(coarse), (height, width), mode="bilinear")
    return smooth.numpy(), shown


def _as_onnx(graph: torch.nn.Module, example: tuple[np.ndarray, np.ndarray]) -> tuple[bytes, Run]:
    """Return the file's bytes and what runs them; the libraries' own writers hide a full disk, or abort."""
    import onnxruntime

    for name in ("onnxscript", "onnx_ir", "torch.onnx"):
        logging.getLogger(name).setLevel(logging.ERROR)  # they report every step that they skip
    batch = torch.export.Dim("batch")
    tensors = tuple(torch.from_numpy(array) for array in example)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns of its own parts
        program: Any = torch.onnx.export(
            graph, tensors, dynamo=True, verbose=False, opset_version=OPSET,
            input_names=INPUTS, output_names=OUTPUTS, dynamic_shapes=({0: batch}, {0: batch}),
        )  # fmt: skip
    data: bytes = program.model_proto.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return data, lambda slices, shown: list(session.run(OUTPUTS, dict(zip(INPUTS, (slices, shown), strict=True))))


def _as_torchscript(graph: torch.nn.Module, example: tuple[np.ndarray, np.ndarray]) -> tuple[bytes, Run]:
    tensors = tuple(torch.from_numpy(array) for array in example)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns about sizes, which are fixed except for the batch
        traced: Any = torch.jit.trace(graph, tensors, check_trace=False)  # type: ignore[no-untyped-call]
        data: bytes = traced.save_to_buffer()
        loaded: Any = torch.jit.load(io.BytesIO(data))  # type: ignore[no-untyped-call]
    return data, _eager(loaded)


def _eager(module: Any) -> Run:
    def run(slices: np.ndarray, shown: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return [part.numpy() for part in module(torch.from_numpy(slices), torch.from_numpy(shown))]

    return run


def _batches(example: tuple[np.ndarray, np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the example of the export, single slices, and more slices that show other sequences.

    A value that the exporter took from the example and stored as a constant is wrong for one of them.
    """
    slices, shown = example
    yield slices, shown
    for i in range(2):
        yield slices[i : i + 1], shown[i : i + 1]
    yield np.concatenate([slices[::-1], slices[:1]]), np.concatenate([shown, shown[-1:]])


def _difference(found: list[np.ndarray], wanted: list[np.ndarray], whole: list[np.ndarray]) -> float:
    """Return the largest difference in units of ``TOLERANCE``; the allowed difference gives exactly that number.

    The allowed difference comes from ``whole``, the maps and scores of many slices: one score alone has no spread.
    """
    worst = 0.0
    for a, b, values in zip(found, wanted, whole, strict=True):
        if a.shape != b.shape:
            return float("inf")
        error = float(np.abs(a - b).max())
        if not error <= 0:  # also NaN
            most = allowed(values, TOLERANCE)
            worst = max(worst, TOLERANCE * error / most if most else float("inf"), key=lambda x: (x != x, x))
    return worst


def _milliseconds(run: Run, one: tuple[np.ndarray, np.ndarray]) -> float:
    times = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        run(*one)
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:]) * 1000)
