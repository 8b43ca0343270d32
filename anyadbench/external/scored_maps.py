"""Scoring the maps of another program on a protocol: a cell without a method, marked as external."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from anyadbench.cells.identity import FIT_PARTS, SCORING_PARTS, own_hash
from anyadbench.cells.manifest import environment
from anyadbench.cells.scored_cell import States, seal, write_scores
from anyadbench.cells.stores import locate, open_stores
from anyadbench.cells.work_folder import WorkFolder, cell_folder, now
from anyadbench.data.slices.geometry import apply_geometry, grid_after
from anyadbench.engine.calls.grid import to_grid
from anyadbench.engine.heights.normaliser import HeightNormaliser
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.scans.healthy import test_subjects
from anyadbench.engine.scans.scoring import ScanScoring
from anyadbench.engine.scans.whole_scan import whole_scans
from anyadbench.engine.scoring import Evaluation
from anyadbench.errors import UserError
from anyadbench.external.map_files import MapFolder
from anyadbench.files import write_json, write_text
from anyadbench.hashing import stable_hash
from anyadbench.methods.contract import Scores
from anyadbench.metrics import METRIC_VERSION, top_fraction_mean
from anyadbench.metrics.core.thresholds import Quantile
from anyadbench.metrics.names import HEIGHT
from anyadbench.metrics.rows.row_state import RowState
from anyadbench.metrics.scans.whole_scans import RowScans, WholeScans
from anyadbench.names import readable
from anyadbench.progress import Progress
from anyadbench.protocols.model import Protocol, TestSet
from anyadbench.results import CellResult, MethodInfo, Numerics, ProtocolInfo, Row, WeightsInfo
from anyadbench.sequences import AS_AVAILABLE, Subset, format_subset
from anyadbench.tables import read_text

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32, Float64, Int

    from anyadbench.data.store.store import SliceStore

VALIDATION, TRAINING = "validation", "training"
_NORMALS = (VALIDATION, TRAINING)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,59}")


@dataclass
class MapEvaluator(Evaluation):
    """Takes the scores from maps that lie on the disk.

    Attributes:
        folder: The maps being scored.
        only: Subsets that have maps in the folder.
    """

    folder: MapFolder | None = None
    only: frozenset[str] = frozenset()
    _slices: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The class itself: no method takes part."""
        return type(self).__name__

    def use(self, folder: MapFolder, only: frozenset[str]) -> None:
        """Read maps from this folder from now on."""
        self.folder, self.only = folder, only
        table = folder.store.slices
        self._slices = {
            f"{scan} slice {number}": (str(scan), int(number))
            for scan, number in zip(table["scan"], table["slice"], strict=True)
        }

    def _rounds(
        self, present: Bool[np.ndarray, "B S"], test: TestSet | None = None
    ) -> Iterator[tuple[Subset, Int[np.ndarray, " M"], list[tuple[str, Int[np.ndarray, " K"]]]]]:
        for subset, members, served in super()._rounds(present, test):
            if format_subset(subset) in self.only:
                yield subset, members, [entry for entry in served if entry[0] in self.only]

    def score(
        self, values: Float[np.ndarray, "B S H W"], subset: Subset, names: list[str]
    ) -> tuple[Float32[np.ndarray, "B h w"], Float64[np.ndarray, " B"]]:
        """Return the maps of the named slices on the scoring grid, and their scores."""
        assert self.folder is not None
        label, resampled, images = format_subset(subset), [], []
        for name in names:
            scan, number = self._slices[name]
            array = self.folder.read(label, scan, number)
            if array.shape == self.folder.store.shape:  # it is resized and cropped as the slice is
                array = apply_geometry(array[None, None], self.protocol.geometry)[0, 0]
            given = Scores(torch.from_numpy(array)[None])
            resampled.append(to_grid(given, 1, values.shape[2:], self.protocol, self.name)[0])
            images.append(self.folder.image_score(label, scan, number))
        maps = np.stack(resampled)
        top = self.protocol.scoring.top_fraction
        if top:
            return maps, top_fraction_mean(maps, top)
        known = [value for value in images if value is not None]
        return maps, np.array(known) if known else top_fraction_mean(maps)


@dataclass(frozen=True)
class ScoreRequest:
    """A user's request to score maps.

    Attributes:
        maps: Folder of maps.
        name: Name of the row on the board.
        source: What computed the maps, in the user's words.
        seed: Seed that chose the training subjects of a protocol with few of them.
    """

    maps: Path
    protocol: Protocol
    runs: Path
    name: str
    data: tuple[str, ...] = ()
    source: str = ""
    keep_maps: str = "sample"
    seed: int = 0


def score_maps(
    request: ScoreRequest, progress: Progress, note: Callable[[str], object] = lambda text: None
) -> WorkFolder:
    """Score a folder of maps and write the cell; return its folder.

    Args:
        request: What to score.
        progress: Shows progress.
        note: Called with each sentence that the user should know about the maps.

    Raises:
        UserError: If a map is missing or wrong, or a file or folder has an unexpected name.
    """
    if not _NAME.fullmatch(request.name):
        raise UserError(f"--name {request.name!r} must be 1 to 60 letters, digits, spaces or any of '._+-'; change it.")
    if not request.maps.is_dir():
        raise UserError(f"--maps {request.maps}: there is no such folder; give the folder of maps.")
    protocol = request.protocol
    data = ProtocolData(protocol, open_stores(protocol, locate(protocol, request.data), progress), request.seed)
    folders = _folders(request.maps, protocol, data)
    hashed = stable_hash({name: folder.fingerprint() for name, folder in folders.items()})
    code = own_hash(("external", "data/trees", *FIT_PARTS, *SCORING_PARTS))
    rules = [protocol.name, protocol.test_part(), data.test_hash(), METRIC_VERSION, code]
    identity = ["external", request.name, hashed, *rules, request.seed]
    cell = cell_folder(request.runs, stable_hash(identity), f"maps-{request.name}", protocol.name, request.seed)
    with cell.lock():
        if not cell.done:
            _write_cell(request, data, folders, hashed, stable_hash(identity), cell, progress)
    for text in dict.fromkeys(text for folder in folders.values() for text in folder.notes):
        note(text)
    return cell


def _folders(maps: Path, protocol: Protocol, data: ProtocolData) -> dict[str, MapFolder]:
    """Return the folder of each test set and, where there is one, of the validation and of the training normals."""
    labels = tuple(format_subset(subset) for subset in protocol.subsets)
    several = len(protocol.tests) > 1
    names = {test.name: test.dataset for test in protocol.tests} | {VALIDATION: protocol.train}
    if protocol.scoring.normalise_height:
        names[TRAINING] = protocol.train
    roots = {name: maps if name not in _NORMALS and not several else maps / name for name in names}
    found = {}
    for name, root in roots.items():
        if root.is_dir():
            beside = tuple(name for name in _NORMALS if name in names) if root == maps else ()
            store = data.stores[names[name]]
            found[name] = MapFolder(root, store, labels, beside, _grids(store, protocol))
        elif name not in _NORMALS:
            raise UserError(f"{root} is missing; {protocol.name} has several test sets, and each needs its own folder.")
    if not any(folder.subsets for name, folder in found.items() if name not in _NORMALS):
        raise UserError(f"{maps} holds no folder of maps; name them {', '.join(labels)}.")
    return found


def _grids(store: SliceStore, protocol: Protocol) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return height and width of what a method sees, and of the scoring grid."""
    seen = grid_after(store.shape, protocol.geometry)
    return seen, (protocol.scoring_grid[0] or seen[0], protocol.scoring_grid[1] or seen[1])


def _required(
    data: ProtocolData, dataset: str, indices: Int[np.ndarray, " N"], feed: Any
) -> dict[str, list[tuple[str, int]]]:
    """Return the slices that each subset needs maps of."""
    reader = data.reader(dataset, feed)
    table, present = reader.store.slices.iloc[indices], reader.present(indices)
    names = list(zip(table["scan"].astype(str), table["slice"].astype(int), strict=True))
    sequences = data.protocol.sequences
    needed = {}
    for subset in data.protocol.subsets:
        served = present[:, [sequences.index(name) for name in subset]].all(axis=1)
        needed[format_subset(subset)] = [names[i] for i in np.flatnonzero(served)]
    return needed


def _complete(folder: MapFolder, needed: dict[str, list[tuple[str, int]]]) -> frozenset[str]:
    """Return the subsets that have all their maps.

    Raises:
        UserError: If a subset has only some of its maps.
    """
    for label in folder.subsets:
        lacking = folder.missing(label, needed[label])
        if lacking:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            raise UserError(f"{lacking[0]}{more} missing: {label} needs a map of every slice, or no folder at all.")
    return frozenset(folder.subsets)


def _write_cell(
    request: ScoreRequest,
    data: ProtocolData,
    folders: dict[str, MapFolder],
    hashed: str,
    identity: str,
    cell: WorkFolder,
    progress: Progress,
) -> None:
    protocol = request.protocol
    started = time.monotonic()
    labels = [format_subset(subset) for subset in protocol.subsets] + ([AS_AVAILABLE] if protocol.as_available else [])
    kept = MapSample(request.keep_maps, protocol.sequences, labels)
    reporter = _Progress(progress)
    evaluator = MapEvaluator(data, reporter, kept)
    head: dict[str, Any] = {
        "cell_id": identity, "fit_id": hashed, "method": _method(request), "protocol": protocol.name,
        "seed": request.seed,
    }  # fmt: skip
    try:
        thresholds = _thresholds(evaluator, data, folders)
        _fit_heights(evaluator, data, folders)
        states: States = [(test, _scored(evaluator, data, folders[test.name], test)) for test in protocol.tests]
        whole = _whole_scans(evaluator, data, folders, states, thresholds)
        rows = write_scores(cell.work / "scores", data, states, thresholds, reporter, whole)
        rows = [row.model_copy(update={"reasons": {**row.reasons, **_reasons(row)}}) for row in rows]
        kept.write(cell.work / "scores" / "maps.npz")
        write_text(cell.work / "protocol.toml", read_text(request.protocol.file))
        write_json(cell.work / "manifest.json", _manifest(data, hashed, request.seed, time.monotonic() - started))
        sealed = seal(cell.work, _result(request, rows, hashed, identity))
        cell.update(state="done", **head, finished=now(), error=None, log_tail=[], result_sha256=sealed)
        cell.complete()
    finally:
        shutil.rmtree(cell.work, ignore_errors=True)  # there is nothing to resume


def _method(request: ScoreRequest) -> str:
    return f"maps:{request.name}"


def _result(request: ScoreRequest, rows: list[Row], hashed: str, identity: str) -> CellResult:
    protocol = request.protocol
    return CellResult(
        kind="external",
        cell_id=identity,
        fit_id=hashed,
        method=MethodInfo(
            name=_method(request), title=request.name, distribution="", version="", code_hash="",
            params={"maps_sha256": hashed}, budget="unknown", training_mask="unknown", missing="unknown",
        ),
        protocol=ProtocolInfo(
            name=protocol.name, title=protocol.title, version=protocol.version, hash=protocol.hash,
            sequences=list(protocol.sequences), subsets=[format_subset(s) for s in protocol.subsets],
            oracle=protocol.oracle, normals=protocol.normals, rank_height=protocol.scoring.rank_height,
            shots=protocol.shots,
        ),
        weights=WeightsInfo(name="unknown", kind="unknown"),
        numerics=Numerics(device="unknown"),
        seed=request.seed,
        metric_version=METRIC_VERSION,
        rows=rows,
        source=readable(request.source),
    )  # fmt: skip


def _scored(evaluator: MapEvaluator, data: ProtocolData, folder: MapFolder, test: TestSet) -> dict[str, RowState]:
    indices = np.sort(np.concatenate(data.test_indices(test)))
    complete = _complete(folder, _required(data, test.dataset, indices, test.feed))
    present = data.reader(test.dataset, test.feed).present(indices)
    sequences = data.protocol.sequences
    own = {format_subset(tuple(n for n, has in zip(sequences, slots, strict=True) if has)) for slots in present}
    evaluator.use(folder, complete | ({AS_AVAILABLE} if own <= complete else set()))
    return evaluator.run_test(test)


def _whole_scans(
    evaluator: MapEvaluator,
    data: ProtocolData,
    folders: dict[str, MapFolder],
    states: States,
    thresholds: Mapping[str, Quantile],
) -> WholeScans:
    """Score whole scans from maps of every brain slice; healthy validation subjects take no part."""
    scans = ScanScoring(evaluator, thresholds, validate=False)
    rows: dict[tuple[str, str], RowScans] = {}
    for test, by_label in states if data.protocol.scoring.volumes else ():
        folder, store = folders[test.name], data.stores[test.dataset]
        reader = data.reader(test.dataset, test.feed)
        scanned = whole_scans(store, reader, data.protocol, test_subjects(data.selections[test.dataset]))
        indices = np.sort(np.concatenate([one.rows for one in scanned]))
        complete = _complete(folder, _required(data, test.dataset, indices, test.feed))
        evaluator.use(folder, complete | ({AS_AVAILABLE} if AS_AVAILABLE in evaluator.only else set()))
        rows |= scans.run([(test, by_label)]).rows
    return WholeScans(rows)


def _thresholds(evaluator: MapEvaluator, data: ProtocolData, folders: dict[str, MapFolder]) -> dict[str, Quantile]:
    folder = folders.get(VALIDATION)
    if folder is None:
        return {}
    indices = evaluator.validation_slices()
    complete = _complete(folder, _required(data, data.protocol.train, indices, None))
    evaluator.use(folder, complete | {AS_AVAILABLE})
    return evaluator.thresholds()


def _fit_heights(evaluator: MapEvaluator, data: ProtocolData, folders: dict[str, MapFolder]) -> None:
    """Fit the normalisation of slice scores on maps of training normals; without any, no score is normalised."""
    folder = folders.get(TRAINING)
    if folder is not None:
        complete = _complete(folder, _required(data, data.protocol.train, evaluator.height_slices(), None))
        evaluator.use(folder, complete)
        evaluator.fit_heights()
    elif data.protocol.scoring.normalise_height:
        evaluator.heights = HeightNormaliser(data.protocol.sequences)


def _reasons(row: Row) -> dict[str, str]:
    if row.n_slices == 0:
        what = "every scan's own sequences" if row.subset == AS_AVAILABLE else row.subset
        return {"row": f"No maps were given for {what}."}
    found = {}
    if row.threshold is None:
        found["threshold"] = "No threshold: no maps of validation normals were given for this subset."
    if row.n_normal and row.n_abnormal and row.metrics.get(HEIGHT[0], 0.0) is None:
        found |= dict.fromkeys(HEIGHT, "No score normalised by height: no maps of training normals were given.")
    return found


def _manifest(data: ProtocolData, hashed: str, seed: int, seconds: float) -> dict[str, Any]:
    return {
        "environment": environment("cpu"),
        "maps": {"sha256": hashed},
        "seed": seed,
        "protocol": {"hash": data.protocol.hash, **data.protocol.training_part(), **data.protocol.test_part()},
        "data": {
            name: {"store": store.content_hash, "selection": data.selections[name].manifest()}
            for name, store in data.stores.items()
        },
        "test_hash": data.test_hash(),
        "score_seconds": seconds,
    }


class _Progress(Reporter):
    """Passes on what the evaluator reports."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._show = progress

    def progress(self, done: int, total: int, label: str) -> None:
        """Show progress."""
        self._show(done, total, label)
