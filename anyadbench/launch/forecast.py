"""What a protocol will do with given data, before anything is trained: subjects, slices, rows, and cost."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.cells.training_coverage import training_coverage
from anyadbench.data.slices.rules import HEALTHY
from anyadbench.data.slices.selection import PARTS
from anyadbench.engine.heights.normaliser import TRAINING_SLICES
from anyadbench.engine.protocol_data import spread
from anyadbench.engine.settings import VALIDATION_SLICES, batch_size, batches_per_epoch, training_steps
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.methods.params import Value
from anyadbench.protocols.model import Protocol, TestSet
from anyadbench.results.read import read_cells
from anyadbench.sequences import AS_AVAILABLE, parse_subset

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

    from anyadbench.data.store.store import SliceStore
    from anyadbench.engine.protocol_data import ProtocolData
    from anyadbench.results import CellResult
    from anyadbench.results.schema import TrainingCoverage


PIXEL_TOLERANCE = 0.1
"""Largest relative difference of pixel sizes between training and testing that needs no note."""


@dataclass(frozen=True)
class Count:
    """Subjects and slices of one part or row."""

    name: str
    subjects: int
    normal: int
    abnormal: int = 0


@dataclass(frozen=True)
class TestOutlook:
    """One test set: its subjects and rows, and how many maps are computed for them."""

    name: str
    dataset: str
    feed: dict[str, str]
    subjects: list[str]
    rows: list[Count]
    maps: int


@dataclass(frozen=True)
class Outlook:
    """What will be trained and tested.

    Attributes:
        normal_maps: Maps of normals, for the threshold and for the normalisation by height.
        notes: Sentences on the subjects that the seed chooses, on who is healthy, and on pixels that differ in size.
    """

    train: Count
    validation: Count
    validation_kind: str
    tests: list[TestOutlook]
    trained_on: TrainingCoverage
    normal_maps: int
    notes: tuple[str, ...] = ()

    @property
    def maps(self) -> int:
        """Maps that one cell computes, those of normals included."""
        return sum(test.maps for test in self.tests) + self.normal_maps


@dataclass(frozen=True)
class Cost:
    """What one cell of a method costs; seconds are ``None`` where no timing of its steps is known.

    Attributes:
        method: Its name.
        budget: Parameter set.
        steps: Training steps; 0 for a method without gradient training.
        slices: Slices that training passes through the method.
        maps: Maps to score.
        missing: Policy for missing sequences.
        fit_seconds: Estimate of the training.
        score_seconds: Estimate of the scoring.
        basis: What the seconds are based on, or why there are none.
    """

    method: str
    budget: str
    steps: int
    slices: int
    maps: int
    missing: str
    fit_seconds: float | None = None
    score_seconds: float | None = None
    basis: str = ""


def look_ahead(data: ProtocolData) -> Outlook:
    """Count what a protocol will train and test on."""
    protocol = data.protocol
    store = data.stores[protocol.train]
    selection = data.selections[protocol.train]
    train, validation = (
        _count(name, store, indices)
        for name, indices in (("train", data.train_indices()), ("validation", data.validation_indices()))
    )
    tests = [_test(data, test) for test in protocol.tests]
    notes = (*_shots(data), *_healthy(data), *_spacings(data))
    return Outlook(train, validation, selection.validation, tests, training_coverage(data), _normal_maps(data), notes)


def _shots(data: ProtocolData) -> Iterator[str]:
    """Yield the training subjects that the seed chooses, where it does."""
    chosen = data.selections[data.protocol.train].shots
    if chosen is not None:
        candidates = len(chosen.complete) + len(chosen.incomplete)
        names = ", ".join(chosen.subjects)
        yield f"seed {chosen.seed} chooses {len(chosen.subjects)} of {candidates} training subjects: {names}"


def _healthy(data: ProtocolData) -> Iterator[str]:
    """Yield the number of healthy subjects of each part, for each set that has some."""
    for name, selection in data.selections.items():
        if selection.healthy_split:
            train, validation, test = (len(selection.healthy_subjects(part)) for part in PARTS)
            used = "to train" if name == data.protocol.train and data.protocol.normals == HEALTHY else "unused"
            yield f"healthy subjects of {name}: {train} {used}, {validation} to validate, {test} to test"


def _spacings(data: ProtocolData) -> Iterator[str]:
    """Yield a sentence for each test set whose pixels are not those of training."""
    own = data.stores[data.protocol.train]
    for name, store in data.stores.items():
        if not np.allclose(own.spacing, store.spacing, rtol=PIXEL_TOLERANCE):
            sizes = [f"{y:.3g} x {x:.3g} mm" for y, x in (own.spacing, store.spacing)]
            yield (
                f"pixels are {sizes[0]} in {own.dataset} and {sizes[1]} in {name}: a method sees anatomy of another "
                "size than in training unless you resample one of them"
            )


def _count(name: str, store: SliceStore, normal: Int[np.ndarray, " N"], abnormal: Any = ()) -> Count:
    indices = np.concatenate([normal, np.asarray(abnormal, dtype=np.int64)]).astype(np.int64)
    subjects = store.slices["subject"].to_numpy()[indices]
    return Count(name, len(set(subjects.tolist())), len(normal), len(indices) - len(normal))


def _test(data: ProtocolData, test: TestSet) -> TestOutlook:
    protocol, reader = data.protocol, data.reader(test.dataset, test.feed)
    normal, abnormal = data.test_indices(test)
    present = [reader.present(indices) for indices in (normal, abnormal)]
    rows = []
    for label in protocol.rows(test):
        kept = [part[_serves(label, has, protocol)] for part, has in zip((normal, abnormal), present, strict=True)]
        rows.append(_count(label, reader.store, *kept))
    maps = _maps(protocol, np.concatenate(present), test)
    names = reader.store.slices["subject"].to_numpy()[np.concatenate([normal, abnormal])]
    return TestOutlook(test.name, test.dataset, dict(test.feed), sorted(set(names.tolist())), rows, maps)


def _normal_maps(data: ProtocolData) -> int:
    chosen = [spread(data.validation_indices(), VALIDATION_SLICES)]
    if data.protocol.scoring.normalise_height:
        chosen.append(spread(data.train_indices(), TRAINING_SLICES))
    return _maps(data.protocol, data.reader(data.protocol.train).present(np.concatenate(chosen)))


def _maps(protocol: Protocol, present: Bool[np.ndarray, "N S"], test: TestSet | None = None) -> int:
    """Return how many maps slices with these sequences need, of a test set or of training."""
    subsets = test.subsets if test and test.subsets else protocol.subsets
    listed = {tuple(name in subset for name in protocol.sequences) for subset in subsets}
    maps = sum(int(present[:, np.array(subset)].all(1).sum()) for subset in listed)
    if protocol.as_available and subsets is protocol.subsets:
        # Most scans have exactly a subset that is scored anyway; only the others need an extra map.
        maps += sum(tuple(bool(there) for there in slots) not in listed for slots in present)
    return maps


def _serves(label: str, present: Bool[np.ndarray, "N S"], protocol: Protocol) -> Bool[np.ndarray, " N"]:
    if label == AS_AVAILABLE:
        return np.asarray(present.any(1))
    return np.asarray(present[:, [protocol.sequences.index(name) for name in parse_subset(label)]].all(1))


def count_cost(descriptor: MethodDescriptor, params: Mapping[str, Value], budget: str, outlook: Outlook) -> Cost:
    """Return what a cell costs in steps and maps, from the parameters and the counts alone."""
    slices = outlook.train.normal
    steps = training_steps(params, batches_per_epoch(slices, batch_size(params), bool(params.get("drop_last", False))))
    return Cost(descriptor.name, budget, steps, _passed(steps, params, slices), outlook.maps, descriptor.missing)


def _passed(steps: int, params: Mapping[str, Value], slices: int) -> int:
    """Return the slices that a training passes through a method; without steps, each once."""
    return steps * min(batch_size(params), slices) or slices


def time_from_cells(cost: Cost, params: Mapping[str, Value], device: str, runs: Path) -> Cost:
    """Add seconds from finished cells of the same method and parameters on the same kind of device."""
    found = [cell for cell in _finished(runs) if _alike(cell, cost, params, device)]
    if not found:
        basis = f"no finished cell with these parameters on {device} in {runs}; --measure times some steps here"
        return replace(cost, basis=basis)
    passed = [_passed(int(cell.train["steps"]), cell.method.params, int(cell.train["slices"])) for cell in found]
    per_slice = statistics.median(cell.timings["fit_seconds"] / n for cell, n in zip(found, passed, strict=True))
    per_map = statistics.median(cell.timings["score_seconds"] / cell.timings["scored_maps"] for cell in found)
    basis = f"median of {len(found)} finished cell{'s' if len(found) > 1 else ''} on {device} in {runs}"
    return replace(cost, fit_seconds=per_slice * cost.slices, score_seconds=per_map * cost.maps, basis=basis)


def _finished(runs: Path) -> Sequence[CellResult]:
    return [record.result for record in read_cells(runs) if record.result is not None] if runs.is_dir() else []


def _alike(cell: CellResult, cost: Cost, params: Mapping[str, Value], device: str) -> bool:
    return (
        cell.method.name == cost.method
        and dict(cell.method.params) == dict(params)
        and cell.method.missing == cost.missing
        and cell.numerics.device == device
        and bool(cell.timings.get("scored_maps"))
        and "steps" in cell.train
    )
