"""One cell: a fitted method scored on a protocol, with everything that its numbers can be checked from."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.methods.descriptor import RETRAIN
from anyadbench.metrics import METRIC_VERSION, METRICS, PixelState, at_threshold, image_metrics, subject_bootstrap
from anyadbench.metrics.evaluation import reasons_from_counts
from anyadbench.plugins import code_hash
from anyadbench.protocols.model import TestSet, read_protocol
from anyadbench.results import CellResult, MethodInfo, Numerics, ProtocolInfo, Row, Threshold, WeightsInfo
from anyadbench.run.cells import WorkFolder, explain_os_error, now, write_json, write_text
from anyadbench.run.evaluate import Evaluator, RowState
from anyadbench.run.events import Reporter
from anyadbench.run.fit import WEIGHTS, Fitting
from anyadbench.run.jobs import Job
from anyadbench.run.kept import KeptMaps
from anyadbench.run.manifest import environment, peak_memory, plugin
from anyadbench.run.retrain import Retraining
from anyadbench.run.sources import ProtocolData
from anyadbench.sequences import AS_AVAILABLE, SHORT, format_subset, parse_subset

if TYPE_CHECKING:
    from collections.abc import Iterable

States = list[tuple[TestSet, dict[str, RowState]]]

MIN_SUBJECTS = 5
"""Fewest test subjects for an interval."""

_COLUMNS = ("test", "subset", "subject", "scan", "slice", "height_mm", "label", "lesion_px", "brain", "image_score")


def run_cell(job: Job, reporter: Reporter) -> None:
    """Fit if need be, score, and complete the cell's folder."""
    folder = job.cell
    protocol = read_protocol(folder.work / "protocol.toml")
    data = ProtocolData.from_paths(protocol, job.stores)
    fitting = Fitting(job, data, reporter)
    retraining = Retraining(fitting) if job.missing == RETRAIN else None
    fits = retraining or fitting
    fit = fits.ensure()
    started = time.monotonic()
    method = fits.load()
    labels = [format_subset(subset) for subset in protocol.subsets] + ([AS_AVAILABLE] if protocol.as_available else [])
    kept = KeptMaps(job.keep_maps, protocol.sequences, labels)
    evaluator = Evaluator(method, data, job.numerics, reporter, kept)
    thresholds = evaluator.thresholds()
    states: States = [(test, evaluator.run_test(test)) for test in protocol.tests]
    scored = time.monotonic() - started
    scores = folder.work / "scores"
    scores.mkdir(exist_ok=True)
    rows = [
        build_row(test, state, thresholds.get(label), protocol.sequences, reporter)
        for test, by_label in states
        for label, state in by_label.items()
    ]
    write_slices(scores / "slices.csv", (state for _, by_label in states for state in by_label.values()))
    write_pixels(scores / "pixels.npz", states)
    write_curves(scores / "curves.json", states)
    kept.write(scores / "maps.npz")
    slices = sum(len(state.records) for _, by_label in states for state in by_label.values())
    result = build_result(fitting, fit, rows, {"score_seconds": scored, "scored_slices": float(slices)})
    write_text(folder.work / "result.json", result.model_dump_json(indent=1) + "\n")
    used = retraining.folders() if retraining else {"": job.fit}
    _write_manifest(fitting, folder.work, result, used)
    for label, made in used.items():
        link_or_copy(made.final / WEIGHTS, folder.work / (f"weights-{label}.safetensors" if label else WEIGHTS))
    folder.update(state="done", finished=now(), error=None, log_tail=[])
    folder.complete()


def build_row(
    test: TestSet, state: RowState, threshold: float | None, sequences: tuple[str, ...], reporter: Reporter
) -> Row:
    """Return the row of one subset with its metrics, intervals, and a reason for whatever is undefined."""
    reporter.check()
    records = state.records
    subset = sequences if state.label == AS_AVAILABLE else parse_subset(state.label)
    counts = {
        "n_subjects": len({record["subject"] for record in records}),
        "n_scans": len({record["scan"] for record in records}),
        "n_slices": len(records),
        "n_normal": sum(not record["label"] for record in records),
        "n_abnormal": sum(bool(record["label"]) for record in records),
    }
    common: dict[str, Any] = {
        "test": test.name, "subset": state.label, "sequences": list(subset), "feed": dict(test.feed), **counts,
    }  # fmt: skip
    if not records:
        names = " and ".join(SHORT[name] for name in subset)
        return Row(
            **common, metrics=dict.fromkeys(METRICS), reasons={"row": f"No test scan of {test.name} has {names}."}
        )
    labels = np.array([bool(record["label"]) for record in records])
    images = np.array([float(record["image_score"]) for record in records])
    values = image_metrics(images, labels) | state.pixels.compute()
    lesion = sum(int(part.to_arrays()["lesion"].sum()) for part in state.subjects.values())
    total = sum(int(part.to_arrays()["normal"].sum()) for part in state.subjects.values())
    reasons = reasons_from_counts(
        {
            "normal_slices": counts["n_normal"], "abnormal_slices": counts["n_abnormal"],
            "normal_pixels": total, "lesion_pixels": lesion,
        }
    )  # fmt: skip
    metrics = {name: None if math.isnan(values[name]) else float(values[name]) for name in METRICS}
    intervals: dict[str, tuple[float | None, float | None]] = {}
    if counts["n_subjects"] >= MIN_SUBJECTS:
        reporter.progress(0, 1, f"intervals for {state.label}")
        intervals = _intervals(state, values)
    else:
        reasons["intervals"] = (
            f"No interval: {counts['n_subjects']} test subject(s), and resampling subjects needs {MIN_SUBJECTS}."
        )
    if threshold is None:
        reasons["threshold"] = "No threshold: no validation normal slice can serve this subset."
    if isinstance(state.pixels, PixelState):
        common |= {"pixels": "streaming", "error_bound": state.pixels.error_bound}
    return Row(**common, metrics=metrics, reasons=reasons, intervals=intervals, threshold=_threshold(state, threshold))


def _intervals(state: RowState, points: dict[str, float]) -> dict[str, tuple[float | None, float | None]]:
    subjects = sorted(state.subjects)
    images = []
    for subject in subjects:
        mine = [record for record in state.records if record["subject"] == subject]
        images.append(
            (
                np.array([float(record["image_score"]) for record in mine]),
                np.array([bool(record["label"]) for record in mine]),
            )
        )
    bounds = subject_bootstrap([state.subjects[subject] for subject in subjects], images, points=points)
    return {
        name: (None if math.isnan(low) else low, None if math.isnan(high) else high)
        for name, (low, high) in bounds.items()
    }


def _threshold(state: RowState, threshold: float | None) -> Threshold | None:
    if threshold is None:
        return None
    found = at_threshold(state.pixels, threshold)
    ratios = ("dice", "sensitivity", "specificity", "precision")
    values: dict[str, Any] = {name: None if math.isnan(found[name]) else found[name] for name in ratios}
    values |= {name: int(found[name]) for name in ("tp", "fp", "fn", "tn")}
    return Threshold(value=threshold, **values)


def write_slices(path: Path, states: Iterable[RowState]) -> None:
    """Write the slice table; scores with 17 significant digits, so that they read back exactly."""
    try:
        with open(path, "w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, _COLUMNS, lineterminator="\n")
            writer.writeheader()
            for state in states:
                writer.writerows({**record, "image_score": repr(record["image_score"])} for record in state.records)
    except OSError as error:
        raise explain_os_error(error, path) from None


def write_pixels(path: Path, states: States) -> None:
    """Write the pixel histogram of every subject in every row, sparse."""
    arrays: dict[str, np.ndarray] = {}
    index: list[list[str]] = []
    for test, by_label in states:
        for label, state in by_label.items():
            for subject in sorted(state.subjects):
                number = len(index)
                index.append([test.name, label, subject])
                arrays |= {f"{number}/{name}": array for name, array in state.subjects[subject].to_arrays().items()}
    try:
        np.savez_compressed(path, index=np.array(json.dumps(index)), **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise explain_os_error(error, path) from None


def write_curves(path: Path, states: States) -> None:
    """Write thinned ROC, PR and PRO curves of every row, for plots."""
    curves: dict[str, Any] = {}
    for test, by_label in states:
        for label, state in by_label.items():
            if state.records:
                found = state.pixels.curves()
                curves[f"{test.name}|{label}"] = {
                    name: np.round(points, 5).tolist() for name, points in found.items() if np.isfinite(points).all()
                }
    write_json(path, curves)


def build_result(fitting: Fitting, fit: dict[str, Any], rows: list[Row], timings: dict[str, float]) -> CellResult:
    """Return the schema-checked result of a cell."""
    job, protocol = fitting.job, fitting.data.protocol
    descriptor, entry = fitting.found
    weights = fitting.weights
    return CellResult(
        kind="oracle" if protocol.oracle else "measured",
        cell_id=job.cell_id,
        fit_id=job.fit_id,
        method=MethodInfo(
            name=descriptor.name, title=descriptor.title, distribution=entry.distribution, version=entry.version,
            code_hash=code_hash(entry, descriptor.factory), params=job.params, budget=job.budget,
            training_mask=descriptor.training_mask,
            missing=descriptor.missing if job.missing == "native" else job.missing,
            departures=list(descriptor.departures), citation=descriptor.citation,
        ),
        protocol=ProtocolInfo(
            name=protocol.name, title=protocol.title, version=protocol.version, hash=protocol.hash,
            sequences=list(protocol.sequences), subsets=[format_subset(subset) for subset in protocol.subsets],
            oracle=protocol.oracle,
        ),
        weights=WeightsInfo(
            name=weights.name, kind=weights.kind, profile=weights.profile, architecture=weights.architecture or "",
            sha256=weights.sha256, licence=weights.licence or "", provenance=weights.provenance or "",
            marked=weights.marked,
        ),
        numerics=Numerics(**job.policy),
        seed=job.seed,
        metric_version=METRIC_VERSION,
        train={"slices": int(fit["train_slices"]), "validation": str(fit["validation"]), "steps": int(fit["steps"])},
        rows=rows,
        timings={"fit_seconds": float(fit["seconds"]), **timings},
        memory=peak_memory(job.numerics.device),
    )  # fmt: skip


def _write_manifest(fitting: Fitting, work: Path, result: CellResult, used: dict[str, WorkFolder]) -> None:
    job, data = fitting.job, fitting.data
    write_json(
        work / "manifest.json",
        {
            "environment": environment(job.numerics.device),
            "plugin": plugin(fitting.found[1], fitting.found[0].factory),
            "weights": fitting.weights.manifest(),
            "policy": job.policy,
            "seed": job.seed,
            "fit": {"id": job.fit_id, "folders": {label or "all": made.final.name for label, made in used.items()}},
            "protocol": {"hash": data.protocol.hash, **data.protocol.training_part(), **data.protocol.test_part()},
            "data": {
                name: {"store": store.content_hash, "selection": data.selections[name].manifest()}
                for name, store in data.stores.items()
            },
            "test_hash": data.test_hash(),
            "timings": result.timings,
            "memory": result.memory,
        },
    )


def link_or_copy(source: Path, target: Path) -> None:
    """Put a file into another folder as a hard link, or as a copy where links are not possible."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise explain_os_error(error, target) from None
