"""The checks of a submission that need the data: deriving its selection again, and running its cells again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from anyadbench.boards.aggregate.recompute import read_statistics
from anyadbench.boards.verify.findings import CellReport, at
from anyadbench.cells.identity import method_params
from anyadbench.cells.stores import locate, open_stores
from anyadbench.cells.training_coverage import training_coverage
from anyadbench.data.phantom.embedded import EMBEDDED
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.errors import UserError
from anyadbench.hashing import sha256_file
from anyadbench.launch.dispatch import execute
from anyadbench.launch.heights_again import check_heights
from anyadbench.launch.launchers import LaunchOptions
from anyadbench.launch.plan import Request, make_plan
from anyadbench.launch.progress import Display
from anyadbench.methods.descriptor import BUDGETS
from anyadbench.metrics.rows.row_numbers import IGNORED_PX
from anyadbench.metrics.scans.whole_scans import WholeScans
from anyadbench.plugins import find_method
from anyadbench.protocols.model import Protocol, TestSet
from anyadbench.protocols.reader import read_protocol
from anyadbench.results.cellfiles import WHOLE_SCANS, read_slice_table
from anyadbench.results.read import load_result, read_json
from anyadbench.results.schema import CellResult, Row
from anyadbench.sequences import AS_AVAILABLE, parse_subset

TOLERANCE = 0.02
"""How far a metric may be off when a cell runs again on another type of machine or with other code."""

_PROFILES = ("published", "package", "random")
_OWN_FILES = ("file", "checkpoint")
"""Kinds of weights that the user passed as a file."""

_SHOWN = 3
_DECISIONS = ("dice", "sensitivity", "specificity", "precision")
_OVERLAPS = ("dice", "dice_best", "dice_common")
"""Metrics of whole scans that a small change of scores changes little; single lesions may be found or lost by one."""

_FACTS = ("subject", "height_mm", "label", "lesion_px", "brain", IGNORED_PX)


@dataclass
class Recheck:
    """Checks cells against data; each protocol's data are opened once.

    Attributes:
        data: Values of ``--data``, as for a run; the name of an embedded data set generates it.
        display: Where progress goes.
    """

    data: tuple[str, ...]
    display: Display
    _opened: dict[str, ProtocolData] = field(default_factory=dict)

    def derive(self, report: CellReport) -> None:
        """Select the slices again from the data, and note what the cell says otherwise.

        Raises:
            UserError: If the data are missing or are not those of the protocol.
        """
        folder = report.folder
        protocol = read_protocol(folder / "protocol.toml")
        manifest = read_json(folder, "manifest.json")
        data = self._data(protocol).for_seed(_seed(manifest))
        for name, store in data.stores.items():
            wanted = data.selections[name].manifest()
            found = at(manifest, f"data.{name}.selection") or {}
            report.numbers += 1
            if found != wanted:
                report.note(
                    "manifest.json", f"the selection of {name} is not that of the data: {_first(wanted, found)}"
                )
            elif at(manifest, f"data.{name}.store") != store.content_hash:
                report.note("manifest.json", f"the store of {name} is not that of the data.")
        if manifest.get("test_hash") != data.test_hash():
            report.note("manifest.json", "test_hash is not that of the data's test slices.")
        hashed = at(manifest, "identity.fit.data")
        if hashed is not None and hashed != data.training_hash():
            report.note("manifest.json", "identity.fit.data is not the hash of the data's training slices.")
        if report.result is not None and report.result.kind != "external":
            _check_rows(report, protocol, data)
            _check_coverage(report, report.result, data)
            check_heights(report, protocol, manifest, data)

    def rerun(self, report: CellReport) -> None:
        """Run the cell again in a folder of its own, and note where its scores or metrics differ.

        Raises:
            UserError: If the method, its weights or the data are missing.
            KeyboardInterrupt: If the run was stopped.
        """
        folder = report.folder
        result = load_result(read_json(folder, "result.json"), f"{folder.name}/result.json")
        if result.kind == "external":
            report.remarks.append("maps of another program cannot be run again")
            return
        manifest = read_json(folder, "manifest.json")
        if result.weights.kind in _OWN_FILES and not _weights_file(result, manifest):
            report.remarks.append("weights from the user's own file, which is not here: the cell cannot be run again")
            return
        with tempfile.TemporaryDirectory(prefix="anyadbench-rerun-") as place:
            request = _request(result, manifest, folder, Path(place), _folders(self.data))
            plan = make_plan(request, self.display.progress)
            (outcome,) = execute(plan.jobs, "local", LaunchOptions(self.display, 1))
            if outcome.status == "interrupted":  # by the user: no fault of the cell, and no reason to run the next
                raise KeyboardInterrupt
            if outcome.status != "done":
                report.note("result.json", f"the cell cannot be run again: {outcome.error}")
                return
            _compare_runs(report, result, manifest, outcome.job.cell.final)

    def _data(self, protocol: Protocol) -> ProtocolData:
        if protocol.hash not in self._opened:
            stores = open_stores(protocol, locate(protocol, _folders(self.data)), self.display.progress)
            self._opened[protocol.hash] = ProtocolData(protocol, stores)
        return self._opened[protocol.hash]


def _seed(manifest: dict[str, Any]) -> int:
    seed = manifest.get("seed")
    return seed if isinstance(seed, int) else 0  # another check names a manifest without one


def _folders(data: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values of ``--data`` that are folders; embedded data sets need none."""
    return tuple(item for item in data if item not in EMBEDDED or Path(item).is_dir())


def _first(wanted: Any, found: Any, path: str = "") -> str:
    """Describe the first difference of two values of plain JSON."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in sorted({*wanted, *found} - ({"hash"} if not path else set()), key=str):
            if wanted.get(key) != found.get(key):
                return _first(wanted.get(key), found.get(key), f"{path}.{key}" if path else str(key))
    if isinstance(wanted, list) and isinstance(found, list):
        extra, lacking = ([x for x in a if x not in b][:_SHOWN] for a, b in ((found, wanted), (wanted, found)))
        parts = [f"{word} {', '.join(map(str, few))}" for word, few in (("has", extra), ("lacks", lacking)) if few]
        return f"{path} {' and '.join(parts) or 'is in another order'}."
    return f"{path} is {found!r}, and the data give {wanted!r}."


def _check_rows(report: CellReport, protocol: Protocol, data: ProtocolData) -> None:
    """Check that each row has every slice that its sequences can serve, with the facts of the data."""
    table = read_slice_table(report.folder)
    for test in protocol.tests:
        known, served = _expected(protocol, data, test)
        for label in protocol.rows(test):
            records = table.get((test.name, label), [])
            found = {(record["scan"], record["slice"]): {IGNORED_PX: 0, **record} for record in records}
            report.numbers += len(found)
            for key in sorted(set(found) ^ served[label])[:_SHOWN]:
                what = "is not served by the data" if key in found else "is missing"
                report.note("scores/slices.csv", f"{test.name}, {label}: slice {key[1]} of {key[0]} {what}.")
            for key in sorted(set(found) & served[label]):
                wrong = [name for name in _FACTS if found[key][name] != known[key][name]]
                if wrong:
                    text = f"{wrong[0]} of slice {key[1]} of {key[0]} is {found[key][wrong[0]]!r}, and the data give"
                    report.note("scores/slices.csv", f"{test.name}, {label}: {text} {known[key][wrong[0]]!r}.")
                    break


def _check_coverage(report: CellReport, result: CellResult, data: ProtocolData) -> None:
    """Count again the training slices with each sequence and subset, of which boards warn where there are none."""
    if result.trained_on is None:
        return  # the check of the cell says whether it must be there
    wanted, found = training_coverage(data).model_dump(), result.trained_on.model_dump()
    if not found["subsets"]:  # an earlier result counts sequences alone
        wanted["subsets"] = {}
    report.numbers += len(wanted["sequences"]) + len(wanted["subsets"])
    if found != wanted:
        report.note("result.json", f"trained_on: {_first(wanted, found)}")


def _expected(
    protocol: Protocol, data: ProtocolData, test: TestSet
) -> tuple[dict[tuple[str, int], Mapping[str, Any]], dict[str, set[tuple[str, int]]]]:
    """Return the facts of the test slices, and which of them each row has."""
    normals, abnormals = data.test_indices(test)
    indices = np.sort(np.concatenate([normals, abnormals]))
    reader = data.reader(test.dataset, test.feed)
    chosen = reader.store.slices.iloc[indices]
    keys = list(zip(chosen["scan"].astype(str), chosen["slice"].astype(int), strict=True))
    abnormal = np.isin(indices, abnormals)
    cavity = 0 if protocol.slices.cavity else chosen["cavity_px"].to_numpy()
    lesions = np.where(abnormal, chosen["lesion_px"].to_numpy() - cavity, 0)
    masks = reader.ignored(indices, protocol)
    ignored = np.zeros(len(indices), int) if masks is None else masks.sum(axis=(1, 2))
    columns = zip(
        keys, chosen["subject"], chosen["height_mm"], chosen["brain"], abnormal, lesions, ignored, strict=True
    )
    known: dict[tuple[str, int], Mapping[str, Any]] = {
        key: {"subject": str(who), "height_mm": float(height), "brain": float(brain), "label": int(label),
              "lesion_px": int(pixels), IGNORED_PX: int(left_out)}
        for key, who, height, brain, label, pixels, left_out in columns
    }  # fmt: skip
    present, served = reader.present(indices), {}
    for label in protocol.rows(test):
        names = () if label == AS_AVAILABLE else parse_subset(label)
        places = np.flatnonzero(present[:, [protocol.sequences.index(name) for name in names]].all(axis=1))
        served[label] = {keys[place] for place in places}
    return known, served


def _request(result: CellResult, manifest: dict[str, Any], folder: Path, runs: Path, data: tuple[str, ...]) -> Request:
    """Return the request that runs a cell again."""
    descriptor, _ = find_method(result.method.name)
    protocol = read_protocol(folder / "protocol.toml")
    budget = next((name for name in BUDGETS if name == result.method.budget), None)
    if budget is None:
        raise UserError(f"{folder.name} does not name its budget, so it cannot be run again; leave out --rerun.")
    missing = at(manifest, "identity.fit.missing")
    if missing is None:
        missing = "native" if result.method.missing == descriptor.missing else result.method.missing
    usual = method_params(descriptor, protocol, budget)
    differing = {name: value for name, value in result.method.params.items() if usual.get(name) != value}
    numerics, file = result.numerics, _weights_file(result, manifest)
    profile = result.weights.profile if result.weights.profile in _PROFILES else None
    return Request(
        methods=(result.method.name,), protocol=protocol, runs=runs, data=data, seeds=(result.seed,), budget=budget,
        weights=f"file:{file}" if file else profile, missing=missing,
        settings=tuple(f"{result.method.name}.{name}={value}" for name, value in differing.items()),
        device="cpu" if numerics.device == "cpu" else "auto",  # without a GPU, the tolerance of other machines holds
        precision="tf32" if numerics.tf32 else numerics.dtype, deterministic=numerics.deterministic,
        compile=None if at(manifest, "policy.blocks") else numerics.compile != "off",
        threads=numerics.threads, keep_maps="none",
    )  # fmt: skip


def _weights_file(result: CellResult, manifest: dict[str, Any]) -> str:
    """Return the path of the user's own weights if the file is still there and the same; empty otherwise."""
    path = at(manifest, "weights.path")
    if result.weights.kind in _OWN_FILES and isinstance(path, str):
        with suppress(OSError, ValueError):  # ValueError: a path that no system allows
            if Path(path).is_file() and sha256_file(Path(path)) == result.weights.sha256:
                return path
    return ""


def _compare_runs(report: CellReport, result: CellResult, manifest: dict[str, Any], again: Path) -> None:
    """Compare a cell with its repetition: identical on the same type of machine and code, else within the tolerance."""
    repeated = load_result(read_json(again, "result.json"), f"{again.name}/result.json")
    other = read_json(again, "manifest.json")
    same = manifest.get("environment") == other.get("environment") and repeated.cell_id == result.cell_id
    ours, theirs = read_statistics(again), read_statistics(report.folder)
    compare_facts(report, ours.whole, theirs.whole)
    differences = list(differing(result, repeated))
    report.numbers += sum(map(len, theirs.slices.values())) + len(result.rows)
    changed = [name for name in WHOLE_SCANS if _content(again / name) != _content(report.folder / name)]
    others = [row for row, found in _pairs(result, repeated) if _decided(row) != _decided(found)]
    identical = ours.slices == theirs.slices and not changed and not others and not any(gap for gap, _ in differences)
    gap, where = max(differences, default=(0.0, ""))
    if same and not identical:
        what = f"{where} differs by {gap:.2g}" if gap else f"{changed[0]} differs" if changed else "slice scores differ"
        if not (gap or changed) and others:
            what = f"thresholds, scans or alarms of {others[0].test}, {others[0].subset} differ"
        report.note("result.json", f"running the cell again on the same type of machine does not repeat it: {what}.")
    elif gap > TOLERANCE:
        text = f"running the cell again gives another {where}: it differs by {gap:.2g}, more than {TOLERANCE:g}."
        report.note("result.json", text)
    elif not identical:
        report.remarks.append(
            f"a rerun with other code or on another machine differs by up to {gap:.1e} in its metrics"
        )


def compare_facts(report: CellReport, ours: WholeScans, theirs: WholeScans) -> None:
    """Compare what whole scans, subjects and boxes are before any scoring: no machine may change that.

    Args:
        report: Where differences are noted.
        ours: Of the repetition.
        theirs: Of the cell.
    """
    facts: Mapping[str, Callable[[WholeScans], dict[Any, Any]]] = {
        "scores/scans.npz": _scanned,
        "scores/healthy.csv": lambda whole: {
            (one.test, one.subset, one.part, one.subject): (one.healthy, one.age, one.sex, one.site)
            for one in whole.scores
        },
        "scores/sites.csv": lambda whole: {test: dict(sites) for test, sites in whole.sites.items()},
        "scores/boxes.json": lambda whole: {
            place: [(key, image.boxes.tolist()) for key, image in zip(row.slices, row.images, strict=True)]
            for place, row in whole.boxes.items()
        },
    }
    for name, listed in facts.items():
        wanted, found = listed(ours), listed(theirs)
        report.numbers += len(wanted)
        wrong = [key for key in {**wanted, **found} if wanted.get(key) != found.get(key)]
        if wrong:
            place = wrong[0] if isinstance(wrong[0], str) else ", ".join(part for part in wrong[0] if part)
            report.note(name, f"running the cell again gives other scans or subjects: {place}.")


def _scanned(whole: WholeScans) -> dict[Any, Any]:
    return {
        (*place, scan): (subject, record.voxel_ml, record.truth, record.lesion_voxels.tolist())
        for place, row in whole.rows.items()
        for subject, scan, record in zip(row.subjects, row.scans, row.records, strict=True)
    }


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _pairs(result: CellResult, repeated: CellResult) -> Iterator[tuple[Row, Row]]:
    rows = {(row.test, row.subset): row for row in repeated.rows}
    for row in result.rows:
        if (row.test, row.subset) in rows:
            yield row, rows[row.test, row.subset]


def _decided(row: Row) -> tuple[Any, ...]:
    return row.threshold, row.scans, row.alarms, row.boxes


def differing(result: CellResult, repeated: CellResult) -> Iterator[tuple[float, str]]:
    """Yield how far each number between 0 and 1 of a result is from that of its repetition, and what it is.

    A healthy subject whose score is next to the threshold may alarm in one of them; only further ones count.
    """
    for row, other in _pairs(result, repeated):
        theirs = _shares(other)
        for name, value in _shares(row).items():
            if name not in theirs:
                continue  # an earlier version of the metrics had it
            second = theirs[name]
            apart = abs(value - second) if value is not None and second is not None else float(value != second)
            yield apart, f"{name} of {row.test}, {row.subset}"
        for one, again in zip(row.alarms, other.alarms, strict=False):
            more = abs((one.alarms or 0) - (again.alarms or 0)) - 1
            yield max(more, 0) / max(one.n_healthy, 1), f"the share of alarms of {row.test}, {row.subset}"


def _shares(row: Row) -> dict[str, float | None]:
    """Return the numbers of a row between 0 and 1: metrics, decisions at the threshold, and Dice of whole scans."""
    found = dict(row.metrics)
    if row.threshold is not None:
        found |= {f"threshold.{name}": getattr(row.threshold, name) for name in _DECISIONS}
    if row.scans is not None:
        found |= {f"scans.{name}": row.scans.metrics.get(name) for name in _OVERLAPS}
    return found
