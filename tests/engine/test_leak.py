"""A method is not influenced by what it may not see: hidden sequences are rewritten and no bit of a score changes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anyadbench.data.store.pixels import rewrite
from anyadbench.data.store.store import SliceStore, open_store
from anyadbench.plugins import load_methods
from anyadbench.protocols.model import Protocol
from anyadbench.sequences import format_subset

METHODS = [name for name, descriptor in load_methods().items() if {"table", "rivals"} & set(descriptor.families)]
"""Every method of the comparison table, its controls, and the rivals outside it."""

FAST = ("anyad", "pixelstats", "dae")
"""Methods that represent each kind; ``make test-all`` runs all the others."""

ONE_SOURCE = ("unitransad-flair",)
"""Methods that read one of the shown sequences, by a rule of their own: all of them are changed."""


def each_method() -> list[Any]:
    assert set(FAST) <= set(METHODS)
    return [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in METHODS]


def rewritten(store: SliceStore, folder: Path, change: Any) -> SliceStore:
    """Return a copy of the store with changed pixels and unchanged tables."""
    shutil.copytree(store.path, folder)
    images = np.array(store.images)
    change(images)
    rewrite(folder, images, np.array(store.masks))
    return open_store(folder)


def randomise(store: SliceStore, hidden: set[str]) -> Any:
    def change(images: np.ndarray) -> None:
        for name in hidden:
            place = store.sequences.index(name)
            shape = images[:, place].shape
            images[:, place] = np.random.default_rng(0).integers(0, 2**16, shape, dtype=np.uint16)

    return change


def parts(method: str, protocol: Protocol, store: SliceStore, tmp_path: Path) -> Any:
    from anyadbench.cells.fitting import Fitting
    from anyadbench.cells.job import Job
    from anyadbench.engine.numerics import Policy
    from anyadbench.engine.protocol_data import ProtocolData
    from anyadbench.engine.reporter import Reporter
    from anyadbench.plugins import find_method

    descriptor, _ = find_method(method)
    job = Job(
        runs=str(tmp_path), cell_id="c" * 64, fit_id="f" * 64, method=method, protocol=protocol.name,
        protocol_file="", seed=0, params=descriptor.resolve("tiny"), budget="tiny", missing="native",
        weights="random", stores={}, policy=Policy(threads=1).to_dict(),
    )  # fmt: skip
    return Fitting(job, ProtocolData(protocol, {"phantom": store}), Reporter())


def scores(fitting: Any, method: Any, protocol: Protocol) -> dict[str, list[float]]:
    from anyadbench.engine.map_sample import MapSample
    from anyadbench.engine.scoring import Evaluator

    kept = MapSample("none", protocol.sequences)
    evaluator = Evaluator(method, fitting.data, fitting.job.numerics, fitting.reporter, kept)
    states = evaluator.run_test(protocol.tests[0])
    found = {}
    for label, state in states.items():
        images = [float(record["image_score"]) for record in state.records]
        found[label] = images + [value for value in state.pixels("", None).steps.compute().values() if value == value]
    return found


@pytest.mark.parametrize("name", each_method())
def test_no_score_depends_on_a_hidden_sequence_and_every_score_on_a_shown_one(
    name: str, store: SliceStore, protocol: Protocol, tmp_path: Path
) -> None:
    fitting = parts(name, protocol, store, tmp_path)
    method = fitting.build().eval()
    if not method.optimizers():  # a method without training learns only in its pass over the normals
        method.prepare(training_feed(fitting, "none"))
    original = scores(fitting, method, replace(protocol, as_available=False))
    for subset in protocol.subsets:
        label = format_subset(subset)
        alone = replace(protocol, subsets=(subset,), as_available=False)
        hidden = set(store.sequences) - set(subset)
        copy = rewritten(store, tmp_path / label, randomise(store, hidden))
        changed = parts(name, alone, copy, tmp_path)
        assert scores(changed, method, alone)[label] == original[label]
        read = set(subset) if name in ONE_SOURCE else {subset[0]}
        shown = rewritten(store, tmp_path / f"{label}-shown", randomise(store, read))
        assert scores(parts(name, alone, shown, tmp_path), method, alone)[label] != original[label]


def training_feed(fitting: Any, mask: str, batch_size: int = 4) -> Any:
    from anyadbench.engine.batches import TrainingFeed

    return TrainingFeed(
        fitting.data.reader("phantom"), fitting.data.train_indices(), mask, 0, batch_size, False,
        fitting.job.numerics.torch_device(),
    )  # fmt: skip


def test_training_never_sees_what_the_protocol_excludes_or_the_scan_lacks(
    store: SliceStore, protocol: Protocol, tmp_path: Path
) -> None:
    assert not store.availability(store.sequences).all(), "the phantom has incomplete scans"

    def change(images: np.ndarray) -> None:
        randomise(store, {"t1ce"})(images)
        present = store.present(np.arange(len(store)), store.sequences)
        rows, places = np.nonzero(~present)
        images[rows, places] = 4711

    copy = rewritten(store, tmp_path / "copy", change)
    feeds = [training_feed(parts("anyad", protocol, each, tmp_path), "per-sample") for each in (store, copy)]
    for step in range(feeds[0].batches_per_epoch):
        first, second = (feed.at(step) for feed in feeds)
        for name in ("inputs", "shown", "targets", "present"):
            assert (getattr(first, name) == getattr(second, name)).all(), name


@pytest.mark.parametrize("mask", ["per-sample", "per-epoch"])
def test_what_the_training_mask_hides_never_reaches_the_inputs(
    mask: str, store: SliceStore, protocol: Protocol, tmp_path: Path
) -> None:
    feed = training_feed(parts("anyad", protocol, store, tmp_path), mask)
    hidden = 0
    for step in range(2 * feed.batches_per_epoch):
        batch = feed.at(step)
        assert batch.shown.any(1).all()
        assert not (batch.shown & ~batch.present).any()
        assert (batch.inputs[~batch.shown] == 0).all()
        assert (batch.inputs[batch.shown] == batch.targets[batch.shown]).all()
        hidden += int((batch.present & ~batch.shown).sum())
    assert hidden > 0


def test_a_batch_depends_on_its_step_alone(store: SliceStore, protocol: Protocol, tmp_path: Path) -> None:
    feed = training_feed(parts("anyad", protocol, store, tmp_path), "per-sample")
    later = feed.at(5)
    for step in range(5):
        feed.at(step)
    assert (feed.at(5).inputs == later.inputs).all()


def test_fitting_reads_slices_of_training_subjects_without_a_lesion_only(store: SliceStore, protocol: Protocol) -> None:
    from anyadbench.engine.protocol_data import ProtocolData

    data = ProtocolData(protocol, {"phantom": store})
    selection = data.selections["phantom"]
    rows = data.train_indices()
    assert {selection.split[name] for name in store.slices["subject"].to_numpy()[rows]} == {"train"}
    assert not store.labels(rows).any()
