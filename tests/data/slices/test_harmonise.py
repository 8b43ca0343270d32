"""Scans of different scanners on one scale: each sequence by itself, and the same in a store and in prediction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY_PROTOCOL
from trees import make_tree, path_of, save, values_of

from anyadbench.data.slices.harmonise import FLOOR, columns_of, curve, fit_standard
from anyadbench.data.slices.rules import HARMONISE, IntensityRules
from anyadbench.data.store.build import prepare
from anyadbench.data.store.store import SliceStore
from anyadbench.data.trees.layouts import get_layout
from anyadbench.data.trees.scan_slices import LANDMARKS
from anyadbench.data.trees.volume import read_volume
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.slice_reader import SliceReader
from anyadbench.errors import UserError
from anyadbench.predict.slices import PatientSlices
from anyadbench.protocols.model import Protocol
from anyadbench.protocols.reader import read_protocol

NAMES = ("flair", "t1", "t2")
SHAPE = (24, 24, 12)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree("phantom", tmp_path_factory.mktemp("tree"), 6, SHAPE)


@pytest.fixture(scope="module")
def store(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    return prepare(tree, get_layout("phantom"), tmp_path_factory.mktemp("store") / "s")


@pytest.fixture(scope="module")
def other(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> SliceStore:
    """The same heads from another scanner: FLAIR with an offset, T1 with another contrast, T2 with another gain."""
    root = make_tree("phantom", tmp_path_factory.mktemp("other"), 6, SHAPE)
    for number in range(1, 7):
        for name, change in (
            ("flair", lambda x: np.where(x > 0, 2 * x + 300, 0)),
            ("t1", lambda x: np.where(x > 0, 4000 * (x / x.max()) ** 2, 0)),
            ("t2", lambda x: 3 * x),
        ):
            path = path_of("phantom", root, number, name)
            save(path, change(values_of(path).astype(np.float32)).astype(np.float32))
    return prepare(root, get_layout("phantom"), tmp_path_factory.mktemp("store") / "o")


def protocol_with(rule: str, folder: Path) -> Protocol:
    path = folder / f"{rule}.toml"
    path.write_text(TINY_PROTOCOL.replace("[slices]", f'[intensity]\nharmonise = "{rule}"\n[slices]'))
    return read_protocol(path)


def read(store: SliceStore, rule: str, source: SliceStore | None = None) -> np.ndarray:
    """Return all slices of a store on a scale that is fitted on another, or on itself."""
    rows, fitted = np.arange(len(store)), source or store
    standard = fit_standard(fitted, np.arange(len(fitted)), NAMES)
    return SliceReader(store, NAMES, IntensityRules(harmonise=rule), standard=standard).read(rows)[0]


def gap(store: SliceStore, other: SliceStore, rule: str, place: int) -> float:
    return float(np.abs(read(store, rule)[:, place] - read(other, rule, store)[:, place]).max())


def test_zscores_undo_gain_and_offset_where_percentiles_undo_the_gain_alone(
    store: SliceStore, other: SliceStore
) -> None:
    assert gap(store, other, "percentile", 2) < 1e-3 and gap(store, other, "zscore", 2) < 1e-3
    assert gap(store, other, "percentile", 0) > 0.1 and gap(store, other, "zscore", 0) < 1e-3


def test_matched_histograms_undo_another_contrast_too(store: SliceStore, other: SliceStore) -> None:
    def mean_gap(rule: str) -> float:
        brain = read(store, rule)[:, 1] > 0
        return float(np.abs(read(store, rule)[:, 1] - read(other, rule, store)[:, 1])[brain].mean())

    assert mean_gap("histogram") < 0.25 * min(mean_gap("percentile"), mean_gap("zscore"))


def test_zscores_have_the_stated_mean_and_deviation(store: SliceStore) -> None:
    values = read(store, "zscore")[:, 0]
    brain = values[values > 0]  # slices with hardly any brain are not stored, so both differ a little
    assert brain.mean() == pytest.approx(3 / 8, abs=0.01) and brain.std() == pytest.approx(1 / 8, abs=0.01)


@pytest.mark.parametrize("rule", ["zscore", "histogram"])
def test_background_is_exactly_zero_and_brain_is_not(store: SliceStore, rule: str) -> None:
    values, _ = store.read(np.arange(len(store)), NAMES)
    mapped = read(store, rule)
    assert (mapped[values == 0] == 0).all()
    assert mapped[values != 0].min() >= np.float32(FLOOR) and mapped.max() <= 1


@pytest.mark.parametrize("rule", HARMONISE)
def test_no_sequence_depends_on_another(store: SliceStore, rule: str, tmp_path: Path) -> None:
    scans = store.scans.copy()
    scans.loc[:, [column for name in ("t1", "t2") for column in columns_of(IntensityRules(harmonise=rule), name)]] *= 5
    changed = replace(store, scans=scans)
    assert (read(store, rule)[:, 0] == read(changed, rule, store)[:, 0]).all()
    assert (read(store, rule)[:, 1] != read(changed, rule, store)[:, 1]).any()


def test_the_standard_scale_is_the_mean_of_the_training_scans(store: SliceStore, tmp_path: Path) -> None:
    data = ProtocolData(protocol_with("histogram", tmp_path), {"phantom": store})
    split = data.selections["phantom"].split
    trained = store.scans[[split[name] == "train" for name in store.scans["subject"]]]
    columns = [f"q{percentile:g}_t2" for percentile in LANDMARKS]
    expected = (trained[columns].to_numpy() / trained[columns[-1:]].to_numpy()).mean(axis=0)
    np.testing.assert_allclose(data.standard["t2"], expected)
    assert data.standard["t2"][-1] == 1 and 0 < len(trained) < len(store.scans)

    scans = store.scans.copy()
    scans.loc[[split[name] == "test" for name in scans["subject"]], columns] *= 7
    again = ProtocolData(data.protocol, {"phantom": replace(store, scans=scans)})
    assert again.standard == data.standard and again.training_hash() == data.training_hash()
    assert again.test_hash() != data.test_hash()


def test_a_fed_sequence_goes_to_the_scale_of_its_slot(store: SliceStore) -> None:
    standard = fit_standard(store, np.arange(len(store)), NAMES)
    rules, rows = IntensityRules(harmonise="histogram"), np.arange(4)
    fed = SliceReader(store, NAMES, rules, {"flair": "t1ce", "t1": "t1ce"}, standard=standard).read(rows)[0]
    assert (fed[:, 0] != fed[:, 1]).any()
    moved = SliceReader(store, NAMES, rules, {"flair": "t1ce"}, standard={**standard, "flair": standard["t1"]})
    assert (moved.read(rows)[0][:, 0] == fed[:, 1]).all()


def test_a_sequence_that_no_training_normal_has_is_one_sentence(store: SliceStore) -> None:
    reader = SliceReader(store, NAMES, IntensityRules(harmonise="histogram"), standard={})
    with pytest.raises(UserError, match=r"^Histogram matching has no standard scale for F, because no training normal"):
        reader.read(np.arange(2))


@pytest.mark.parametrize("rule", HARMONISE)
def test_prediction_sees_what_the_benchmark_sees(store: SliceStore, tree: Path, rule: str, tmp_path: Path) -> None:
    data = ProtocolData(protocol_with(rule, tmp_path), {"phantom": store})
    scan = str(store.scans.index[2])
    rows = np.flatnonzero(store.slices["scan"] == scan)
    volumes = {name: read_volume(path_of("phantom", tree, 3, name)) for name in NAMES}
    patient = PatientSlices.cut(volumes, data.protocol, store.shape, data.standard)
    assert (patient.values(np.arange(len(patient))) == data.reader("phantom").read(rows)[0]).all()


def test_a_curve_needs_only_the_columns_that_are_hashed() -> None:
    for rule in ("zscore", "histogram"):
        rules = IntensityRules(harmonise=rule)
        row = {name: float(place) for place, name in enumerate(columns_of(rules, "t1"))}
        assert len(curve(rules, "t1", row.__getitem__, LANDMARKS)) == (2 if rule == "zscore" else len(LANDMARKS))
