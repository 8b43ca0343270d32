"""One cell: a fitted method scored on a protocol, with everything needed to check its numbers."""

from __future__ import annotations

import csv
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.cells.fitting import WEIGHTS, Fitting
from anyadbench.cells.identity import hashed_besides, identify
from anyadbench.cells.job import Job
from anyadbench.cells.manifest import differences, environment, peak_memory, plugin
from anyadbench.cells.normals import ValidationNormals
from anyadbench.cells.per_subset import PerSubsetFits
from anyadbench.cells.training_coverage import training_coverage
from anyadbench.cells.whole_scans import add_whole_scans
from anyadbench.cells.work_folder import PROGRESS, WorkFolder, now
from anyadbench.engine.compiling import combined
from anyadbench.engine.heights.normaliser import described
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import numerics_record
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.scans.scoring import ScanScoring
from anyadbench.engine.scans.whole_scan import check_scans
from anyadbench.engine.scoring import Evaluator
from anyadbench.errors import UserError
from anyadbench.files import atomic_text, link_or_copy, make_folder, read_json, remove_leftovers, write_json, write_text
from anyadbench.hashing import sha256_file
from anyadbench.methods.descriptor import RETRAIN, MethodDescriptor
from anyadbench.metrics import METRIC_VERSION
from anyadbench.metrics.core.ranking import curve_points
from anyadbench.metrics.core.thresholds import Quantile
from anyadbench.metrics.rows.replicates import RowReplicates
from anyadbench.metrics.rows.replicates import to_arrays as replicate_arrays
from anyadbench.metrics.rows.row_numbers import row_numbers
from anyadbench.metrics.rows.row_pixels import RowPixels, to_arrays
from anyadbench.metrics.rows.row_state import RowState
from anyadbench.metrics.scans.whole_scans import WholeScans
from anyadbench.plugins import code_hash
from anyadbench.protocols.model import Protocol, TestSet
from anyadbench.protocols.reader import read_protocol
from anyadbench.results import CellResult, MethodInfo, Numerics, ProtocolInfo, Row, WeightsInfo, training
from anyadbench.results.arrays import save_arrays
from anyadbench.results.cellfiles import FACT_COLUMNS, HASHED, SCORE_COLUMNS, SLICE_COLUMNS, RowKey
from anyadbench.results.normals import FILE as NORMALS
from anyadbench.results.normals import save_normals
from anyadbench.sequences import AS_AVAILABLE, SHORT, format_subset, parse_subset
from anyadbench.tables import guarded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

States = list[tuple[TestSet, dict[str, RowState]]]


def run_cell(job: Job, reporter: Reporter) -> None:
    """Fit if needed, score, and complete the cell's folder."""
    folder = job.cell
    protocol = read_protocol(folder.work / "protocol.toml")
    data = ProtocolData.from_paths(protocol, job.stores, job.seed)
    fitting = Fitting(job, data, reporter)
    check_unchanged(job, data, fitting)
    if protocol.scoring.volumes:
        check_scans(data)  # before hours of training
    retraining = PerSubsetFits(fitting) if job.missing == RETRAIN else None
    fits = retraining or fitting
    fit = fits.ensure()
    started = time.monotonic()
    method = fits.load()
    labels = list(dict.fromkeys(label for test in protocol.tests for label in protocol.rows(test)))
    kept = MapSample(job.keep_maps, protocol.sequences, labels)
    evaluator = Evaluator(method, data, job.numerics, reporter, kept)
    normals = ValidationNormals(data, evaluator.brains)
    thresholds = evaluator.thresholds(normals)
    evaluator.fit_heights()
    states: States = [(test, evaluator.run_test(test)) for test in protocol.tests]
    scored = time.monotonic() - started
    scans = ScanScoring(evaluator, thresholds)
    whole = scans.run(states) if protocol.scoring.volumes else WholeScans()
    remove_leftovers(folder.work)
    shutil.rmtree(folder.work / "scores", ignore_errors=True)  # of a process that was killed while it wrote
    rows = write_scores(folder.work / "scores", data, states, thresholds, reporter, whole)
    kept.write(folder.work / "scores" / "maps.npz")
    save_normals(folder.work / NORMALS, normals.found(thresholds))
    slices = sum(len(state.records) for _, by_label in states for state in by_label.values())
    compiled = combined([fit.get("compile"), evaluator.compiled.state])
    timings = {"score_seconds": scored, "scored_slices": float(slices), "scored_maps": float(evaluator.maps)}
    if scans.scored:
        timings["scan_seconds"] = scans.seconds / scans.scored
    used = retraining.folders() if retraining else {"": job.fit}
    result = build_result(fitting, fit, rows, timings, numerics_record(job.numerics, compiled))
    result = result.model_copy(update={"training": training.curves(losses_of(used))})
    heights = None if evaluator.heights is None else described(evaluator.heights.fits)
    _write_manifest(fitting, folder.work, result, used, fit.get("environments", []), heights)
    hashed = seal(folder.work, result)
    for label, made in used.items():
        for name in (WEIGHTS, training.FILE):
            stem, _, suffix = name.partition(".")
            if (made.final / name).is_file() or name == WEIGHTS:
                link_or_copy(made.final / name, folder.work / (f"{stem}-{label}.{suffix}" if label else name))
    (folder.work / PROGRESS).unlink(missing_ok=True)
    folder.update(state="done", finished=now(), error=None, log_tail=[], result_sha256=hashed)
    folder.complete()


def losses_of(used: Mapping[str, WorkFolder]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each fit's losses by its label."""
    return {label: read_json(made.final / "manifest.json")["history"] for label, made in used.items()}


def write_scores(
    scores: Path,
    data: ProtocolData,
    states: States,
    thresholds: Mapping[str, Quantile],
    reporter: Reporter,
    whole: WholeScans | None = None,
) -> list[Row]:
    """Write the slice table, pixel statistics, values without a subject, curves and scans; return the rows."""
    make_folder(scores)
    rows: list[Row] = []
    kept: list[RowPixels] = []
    replicates: dict[RowKey, RowReplicates] = {}
    curves: dict[str, Any] = {}
    full = format_subset(data.protocol.sequences)
    for test, by_label in states:
        complete = sorted({str(record["subject"]) for record in by_label[full].records}) if full in by_label else []
        for label, state in by_label.items():
            reporter.check()
            pixels = state.pixels(test.name, thresholds.get(label))
            state.release()  # the rows' scores are most of a cell's memory
            row, values = build_row(test, state, pixels, data.protocol.sequences, complete)
            rows.append(row)
            if values is not None:
                replicates[test.name, label] = values
            if pixels is not None:
                kept.append(pixels)
                curves[f"{test.name}|{label}"] = curve_points(pixels.steps)
            reporter.progress(len(rows), sum(map(len, (by for _, by in states))), "metrics and intervals")
    write_slices(scores / "slices.csv", (state for _, by_label in states for state in by_label.values()))
    subjects = {test.name: test_subjects(data, test) for test, _ in states}
    save_arrays(scores / "pixels.npz", to_arrays(kept, subjects))
    save_arrays(scores / "jackknife.npz", replicate_arrays(replicates))
    write_json(scores / "curves.json", curves)
    return add_whole_scans(
        scores, data, whole or WholeScans(), rows, states, {(one.test, one.subset): one for one in kept}
    )


def test_subjects(data: ProtocolData, test: TestSet) -> list[str]:
    """Return every subject of a test set, whatever sequences it has."""
    rows = np.concatenate(data.test_indices(test))
    return sorted(set(data.stores[test.dataset].slices["subject"].iloc[rows].astype(str)))


def seal(work: Path, result: CellResult) -> str:
    """Write ``result.json`` with the hashes of the files beside it, and return its own."""
    names = [name for name in HASHED if (work / name).is_file()]
    files = {name: sha256_file(work / name) for name in names}
    write_text(work / "result.json", result.model_copy(update={"files": files}).model_dump_json(indent=1) + "\n")
    return sha256_file(work / "result.json")


def build_row(
    test: TestSet,
    state: RowState,
    pixels: RowPixels | None,
    sequences: tuple[str, ...],
    complete: Sequence[str],
) -> tuple[Row, RowReplicates | None]:
    """Return the row of one subset, with a reason for each undefined value, and its metrics without each subject.

    Args:
        test: Test set.
        state: The scores.
        pixels: Their pixel statistics; ``None`` for a row without slices.
        sequences: Those of the protocol.
        complete: Subjects that have all of them.
    """
    subset = sequences if state.label == AS_AVAILABLE else parse_subset(state.label)
    numbers, replicates = row_numbers(pixels, state.records, complete)
    numbers["n_emptied"] = state.emptied
    if not state.records:
        names = " and ".join(SHORT[name] for name in subset)
        numbers["reasons"] = {"row": f"No test scan of {test.name} has {names}."}
    row = Row(test=test.name, subset=state.label, sequences=list(subset), feed=dict(test.feed), **numbers)
    return row, replicates


def write_slices(path: Path, states: Iterable[RowState]) -> None:
    """Write the slice table; scores with 17 significant digits, so that they read back exactly."""
    records = [record for state in states for record in state.records]
    further = (name for name in (*FACT_COLUMNS, *SCORE_COLUMNS) if any(name in record for record in records))
    columns = [*SLICE_COLUMNS, *further]
    with atomic_text(path) as handle:
        writer = csv.DictWriter(handle, columns, restval="", lineterminator="\n")
        writer.writeheader()
        for record in records:
            cells = {key: guarded(value) if isinstance(value, str) else value for key, value in record.items()}
            scores = {name: record.get(name) for name in ("image_score", *SCORE_COLUMNS)}
            writer.writerow({**cells, **{name: repr(value) for name, value in scores.items() if value is not None}})


def check_unchanged(job: Job, data: ProtocolData, fitting: Fitting) -> None:
    """Check that the cell still matches its id: it may have waited for days since it was planned.

    Raises:
        UserError: If the method's files, its weights, the data or the protocol have changed.
    """
    if identify(*fitting.found, job.training, data, fitting.weights) != (job.fit_id, job.cell_id):
        raise UserError(
            f"{job.label}: the method's files or anyadbench's own, the weights, the data or the protocol changed "
            "since the cell was planned; run the same command again to plan it with the changes ('anyadbench runs "
            "prune' removes this cell)."
        )


def build_result(
    fitting: Fitting, fit: dict[str, Any], rows: list[Row], timings: dict[str, float], numerics: dict[str, Any]
) -> CellResult:
    """Return the schema-checked result of a cell."""
    job, protocol = fitting.job, fitting.data.protocol
    descriptor, entry = fitting.found
    weights = fitting.weights
    return CellResult(
        kind="control" if descriptor.is_control else "oracle" if protocol.oracle else "measured",
        cell_id=job.cell_id,
        fit_id=job.fit_id,
        method=MethodInfo(
            name=descriptor.name, title=descriptor.title, distribution=entry.distribution, version=entry.version,
            code_hash=code_hash(entry, descriptor.factory), params=descriptor.portable(job.params), budget=job.budget,
            training_mask=descriptor.training_mask,
            missing=descriptor.missing if job.missing == "native" else job.missing,
            departures=descriptor.departures_under(protocol.selection), citation=descriptor.citation,
            chosen_on=descriptor.chosen_on,
        ),
        protocol=ProtocolInfo(
            name=protocol.name, title=protocol.title, version=protocol.version, hash=protocol.hash,
            sequences=list(protocol.sequences), subsets=[format_subset(subset) for subset in protocol.subsets],
            oracle=protocol.oracle, normals=protocol.normals, rank_height=protocol.scoring.rank_height,
            shots=protocol.shots,
        ),
        weights=WeightsInfo(
            name=weights.name, kind=weights.kind, profile=weights.profile, architecture=weights.architecture or "",
            sha256=weights.sha256, licence=weights.licence or "", provenance=weights.provenance or "",
            marked=weights.marked,
        ),
        numerics=Numerics(**numerics),
        seed=job.seed,
        metric_version=METRIC_VERSION,
        train=_training(protocol, fit, weights.kind),
        trained_on=None if _untrained(descriptor, weights.kind) else training_coverage(fitting.data),
        rows=rows,
        timings={"fit_seconds": float(fit["seconds"]), **timings},
        memory=peak_memory(job.numerics.device),
    )  # fmt: skip


def _untrained(descriptor: MethodDescriptor, weights: str) -> bool:
    """Whether nothing was learnt from the training normals: a control, or the authors' whole network."""
    return descriptor.is_control or weights == "checkpoint"


def _training(protocol: Protocol, fit: dict[str, Any], weights: str) -> dict[str, int | str]:
    facts: dict[str, int | str] = {"slices": int(fit["train_slices"]), "validation": str(fit["validation"])}
    facts["steps"] = int(fit["steps"])
    # Fits of earlier versions lack them; a control has no parameters and learns from no slice.
    known = ("parameters", "seen_slices") if fit.get("parameters") else ()
    facts |= {name: int(fit[name]) for name in known if fit.get(name)}
    if "selected" in fit:
        facts |= {"selection": protocol.selection, "selected_step": int(fit["selected"]["step"])}
    if changed := differences(fit.get("environments", [])):
        facts["environments"] = changed
    if weights == "checkpoint":
        facts["source"] = "published checkpoint, not trained"
    return facts


def _write_manifest(
    fitting: Fitting,
    work: Path,
    result: CellResult,
    used: dict[str, WorkFolder],
    trained: list[dict[str, Any]],
    heights: dict[str, Any] | None,
) -> None:
    job, data = fitting.job, fitting.data
    write_json(
        work / "manifest.json",
        {
            "environment": environment(job.numerics.device),
            "training_environments": trained,
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
            "identity": hashed_besides(*fitting.found, job.training, data),
            "input": _input(data),
            **({} if heights is None else {"heights": heights}),
            "timings": result.timings,
            "memory": result.memory,
        },
    )


def _input(data: ProtocolData) -> dict[str, Any]:
    """Return what prediction needs of the training slices: size, spacing and, for matched histograms, the scale."""
    store = data.stores[data.protocol.train]
    facts = {"grid": list(store.shape), "spacing_mm": [float(step) for step in store.spacing]}
    return facts | ({"standard_scale": data.standard} if data.standard else {})
