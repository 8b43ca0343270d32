"""Whole scans are put together from slices, with real edges, and scored one at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from healthy_fixture import SITES, with_people
from tiny import VOLUME_PROTOCOL

from anyadbench.cells.whole_scans import add_whole_scans
from anyadbench.data.slices.rules import GeometryRules
from anyadbench.data.store.store import SliceStore
from anyadbench.engine.map_sample import MapSample
from anyadbench.engine.numerics import Policy
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.scans.scoring import ScanScoring
from anyadbench.engine.scans.whole_scan import check_scans, scan_spacing, whole_scans
from anyadbench.engine.scoring import Evaluator
from anyadbench.errors import UserError
from anyadbench.methods.contract import Scores
from anyadbench.metrics.lesions import score_scan
from anyadbench.metrics.scans.scan_numbers import scan_numbers
from anyadbench.metrics.scans.whole_scans import WholeScans
from anyadbench.protocols.model import Protocol
from anyadbench.protocols.reader import read_protocol
from anyadbench.results.subject_tables import read_scores, read_sites


class Plain:
    """A method that scores shown sequences by their brightness."""

    def score(self, batch: Any) -> Scores:
        return Scores(batch.inputs.sum(1))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Protocol:
    path = tmp_path_factory.mktemp("protocol") / "volumes.toml"
    path.write_text(VOLUME_PROTOCOL)
    return read_protocol(path)


def scored(protocol: Protocol, store: SliceStore) -> tuple[WholeScans, Any, ProtocolData]:
    data = ProtocolData(protocol, {"phantom": store})
    kept = MapSample("none", protocol.sequences, list(protocol.rows(protocol.tests[0])))
    method: Any = Plain()
    evaluator = Evaluator(method, data, Policy(), Reporter(), kept)
    thresholds = evaluator.thresholds()
    states = [(test, evaluator.run_test(test)) for test in protocol.tests]
    return ScanScoring(evaluator, thresholds).run(states), (thresholds, states), data


@pytest.fixture(scope="module")
def plain(volumes: Protocol, store: SliceStore) -> tuple[WholeScans, Any, ProtocolData]:
    return scored(volumes, store)


def test_a_record_is_that_of_the_volume_put_together_by_hand(
    plain: tuple[WholeScans, Any, ProtocolData], store: SliceStore
) -> None:
    whole, (thresholds, _), data = plain
    row = whole.rows["phantom", "F"]
    assert len(row.scans) >= 4 and row.threshold == thresholds["F"].value
    reader = data.reader("phantom")
    for place in (0, len(row.scans) - 1):
        rows = np.flatnonzero((store.slices["scan"] == row.scans[place]).to_numpy())
        values, present = reader.read(rows)
        flair, truth = values[:, 0], store.masks[rows] > 0
        brain = (values * present[:, :, None, None] > 0).any(axis=1)
        record = score_scan(flair, truth, brain, (7.5, 4.5, 4.5), threshold=row.threshold, grid=row.grid)
        stored = row.records[place]
        assert (stored.truth, stored.predicted, stored.hit) == (record.truth, record.predicted, record.hit)
        assert stored.truth == int(store.scans["lesion_voxels"][row.scans[place]])
        assert stored.voxel_ml == pytest.approx(7.5 * 4.5 * 4.5 / 1000)
        np.testing.assert_array_equal(stored.lesion_scores, record.lesion_scores)
        np.testing.assert_array_equal(stored.grid_hit, record.grid_hit)


def test_every_row_of_the_protocol_has_the_scans_that_can_serve_it(
    plain: tuple[WholeScans, Any, ProtocolData], store: SliceStore
) -> None:
    whole, (_, states), data = plain
    tested = {name for name, part in data.selections["phantom"].split.items() if part == "test"}
    assert set(whole.rows["phantom", "as available"].subjects) == tested
    names = {"F": "flair", "T1": "t1", "T2": "t2"}
    for label in ("F", "T1", "T2", "F+T2"):
        has = store.scans[[f"has_{names[part]}" for part in label.split("+")]].astype(bool).all(axis=1)
        able = {str(scan) for scan in store.scans.index[has & store.scans["subject"].isin(tested)]}
        assert set(whole.rows["phantom", label].scans) == able
    listed = {record["scan"] for state in states[0][1].values() for record in state.records}
    assert listed <= set(whole.rows["phantom", "as available"].scans)


def test_common_thresholds_lie_at_lesion_scores_and_fall(plain: tuple[WholeScans, Any, ProtocolData]) -> None:
    for row in plain[0].rows.values():
        assert 1 <= len(row.grid) <= 31 and list(row.grid) == sorted(row.grid, reverse=True)
        numbers = scan_numbers(row)["metrics"]
        assert numbers["dice_common"] <= numbers["dice_best"] + 1e-12


def test_one_scan_and_one_subset_are_in_memory_at_a_time(volumes: Protocol, store: SliceStore) -> None:
    data = ProtocolData(volumes, {"phantom": store})
    reader = data.reader("phantom")
    most = max(len(one.rows) for one in whole_scans(store, reader, volumes, set(store.scans["subject"])))
    sizes: list[int] = []

    class Watched(Evaluator):
        def scan_maps(self, values: Any, *rest: Any) -> Any:
            sizes.append(len(values))
            return super().scan_maps(values, *rest)

    method: Any = Plain()
    kept = MapSample("none", volumes.sequences, list(volumes.rows(volumes.tests[0])))
    evaluator = Watched(method, data, Policy(), Reporter(), kept)
    states = [(test, evaluator.run_test(test)) for test in volumes.tests]
    ScanScoring(evaluator, {}).run(states)
    assert sizes and max(sizes) <= most


@pytest.mark.parametrize(
    ("geometry", "grid", "edges"),
    [
        (GeometryRules(), (0, 0), (7.5, 4.5, 4.5)),
        (GeometryRules(resize=(96, 24)), (0, 0), (7.5, 2.25, 9.0)),
        (GeometryRules(crop=(24, 24)), (0, 0), (7.5, 4.5, 4.5)),
        (GeometryRules(resize=(96, 96), crop=(48, 48)), (24, 96), (7.5, 4.5, 1.125)),
        (GeometryRules(), (96, 48), (7.5, 2.25, 4.5)),
    ],
)
def test_edges_follow_resizing_cropping_and_the_scoring_grid(
    volumes: Protocol, geometry: GeometryRules, grid: tuple[int, int], edges: tuple[float, float, float]
) -> None:
    protocol = replace(volumes, geometry=geometry, scoring_grid=grid)
    scan = {"spacing_x": 4.5, "spacing_y": 4.5, "spacing_z": 7.5}
    assert scan_spacing(scan, (48, 48), protocol, "s") == pytest.approx(edges)


@pytest.mark.parametrize(
    ("scan", "message"),
    [
        ({}, "The voxel spacing of s is missing, but lesions need three edges from 0.05 to 20 mm; correct the header"),
        ({"spacing_x": 1, "spacing_y": 1, "spacing_z": 500}, r"is \(500, 1, 1\) mm, but lesions need"),
        ({"spacing_x": 1, "spacing_y": float("nan"), "spacing_z": 1}, r"is \(1, nan, 1\) mm"),
    ],
)
def test_missing_or_absurd_edges_are_refused(volumes: Protocol, scan: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        scan_spacing(scan, (48, 48), volumes, "s")


def test_slices_without_a_scan_are_refused(volumes: Protocol, store: SliceStore) -> None:
    pictures = replace(store, slices=store.slices.assign(part="train"))
    with pytest.raises(UserError, match=r"was made from pictures of slices, but tiny scores whole scans"):
        whole_scans(pictures, ProtocolData(volumes, {"phantom": store}).reader("phantom"), volumes, set())


def test_slices_that_the_store_leaves_out_are_gaps(volumes: Protocol, store: SliceStore) -> None:
    reader = ProtocolData(volumes, {"phantom": store}).reader("phantom")
    subject = str(store.scans["subject"].iloc[0])
    (first,) = whole_scans(store, reader, volumes, {subject})
    table = store.slices.copy()
    table.loc[first.rows[3], "brain"] = 0.0
    (second,) = whole_scans(replace(store, slices=table), reader, volumes, {subject})
    assert second.depth == first.depth and len(second.rows) == len(first.rows) - 1
    volume = second.volume(np.ones((len(second.rows), 2, 2)))
    assert (
        volume.shape == (first.depth, 2, 2)
        and not volume[first.places[3]].any()
        and volume.sum() == 4 * len(second.rows)
    )


def test_lesions_outside_the_brain_are_refused_before_any_training(volumes: Protocol, store: SliceStore) -> None:
    data = ProtocolData(volumes, {"phantom": store})
    check_scans(data)
    scan = next(
        str(s) for s, one in store.scans.iterrows() if data.selections["phantom"].split[one["subject"]] == "test"
    )
    rows = np.flatnonzero((store.slices["scan"] == scan).to_numpy())
    masks, slices = np.array(store.masks), store.slices.copy()
    masks[rows] = 0
    masks[rows[0], :4, :4] = 5
    slices.loc[rows, "lesion_px"] = 0
    slices.loc[rows[0], "lesion_px"] = 16
    scans = store.scans.copy()
    scans.loc[scan, "lesion_voxels"] = 16
    wrong = ProtocolData(volumes, {"phantom": replace(store, masks=masks, slices=slices, scans=scans)})
    with pytest.raises(
        UserError, match=rf"^16 of 16 lesion voxels of {scan} of phantom lie outside its brain; correct"
    ):
        check_scans(wrong)


def test_healthy_people_get_alarms_and_sites(volumes: Protocol, store: SliceStore, tmp_path: Path) -> None:
    names = sorted(set(store.scans["subject"].astype(str)))
    people = with_people(store, names[:6])
    whole, (_, states), data = scored(volumes, people)
    parts = {part: data.selections["phantom"].healthy_subjects(part) for part in ("val", "test")}
    assert parts["val"] and parts["test"]
    found = {(one.part, one.subject) for one in whole.scores if one.subset == "as available"}
    assert {name for part, name in found if part == "val"} == set(parts["val"])
    assert set(parts["test"]) < {name for part, name in found if part == "test"}
    assert {one.subject for one in whole.scores if one.healthy} <= set(names[:6])
    (tmp_path / "scores").mkdir()
    kept = add_whole_scans(tmp_path / "scores", data, whole, [], states, {})
    assert kept == [] and read_scores(tmp_path) == tuple(whole.scores)
    assert set(read_sites(tmp_path)["phantom"].values()) == set(SITES)


def test_a_healthy_subject_with_a_lesion_is_refused(volumes: Protocol, store: SliceStore) -> None:
    names = sorted(set(store.scans["subject"].astype(str)))
    people = with_people(store, names[:6])
    scans = people.scans.copy()
    scans.loc[scans["subject"] == names[0], "lesion_voxels"] = 7
    with pytest.raises(UserError, match=rf"^{names[0]} of phantom is healthy by its table, but its mask has 7 lesion"):
        scored(volumes, replace(people, scans=scans))
