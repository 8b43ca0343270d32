"""The files of a cell's whole scans, subjects and sites, and the numbers that rows get from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.engine.scans.healthy import subject_facts
from anyadbench.metrics.boxes.row import RowBoxes, row_boxes
from anyadbench.metrics.scans.added_numbers import added_numbers
from anyadbench.metrics.scans.scan_storage import to_arrays
from anyadbench.metrics.scans.whole_scans import WholeScans
from anyadbench.protocols.model import TestSet
from anyadbench.results import Row
from anyadbench.results.arrays import save_arrays
from anyadbench.results.box_file import FILE as BOXES
from anyadbench.results.box_file import write_boxes
from anyadbench.results.subject_tables import HEALTHY, SITES, write_scores, write_sites

if TYPE_CHECKING:
    from anyadbench.metrics.rows.row_pixels import RowPixels
    from anyadbench.metrics.rows.row_state import RowState


def add_whole_scans(
    scores: Path,
    data: ProtocolData,
    whole: WholeScans,
    rows: Sequence[Row],
    states: Sequence[tuple[TestSet, Mapping[str, RowState]]],
    pixels: Mapping[tuple[str, str], RowPixels],
) -> list[Row]:
    """Write what the numbers of whole scans, alarms and sites follow from, and return the rows with these numbers.

    Args:
        scores: The cell's folder of scores.
        data: The protocol's slices.
        whole: Scored scans and subjects; empty if the protocol does not ask for them.
        rows: Rows without these numbers.
        states: Scored slices by test set.
        pixels: Pixel statistics by test set and subset.
    """
    whole = replace(whole, sites=_sites(data, states), boxes=_boxes(rows, states))
    if whole.boxes:
        write_boxes(scores.parent / BOXES, whole.boxes.values())
    if whole.rows:
        save_arrays(scores / "scans.npz", to_arrays(list(whole.rows.values())))
    if whole.scores:
        write_scores(scores.parent / HEALTHY, whole.scores)
    if whole.sites:
        write_sites(scores.parent / SITES, whole.sites)
    records = {(test.name, label): state.records for test, by_label in states for label, state in by_label.items()}
    found = []
    for row in rows:
        place = row.test, row.subset
        added = added_numbers(place, whole, pixels.get(place), records.get(place, []), row.metrics)
        found.append(Row(**{**row.model_dump(), **added}) if added else row)
    return found


def _boxes(
    rows: Sequence[Row], states: Sequence[tuple[TestSet, Mapping[str, RowState]]]
) -> dict[tuple[str, str], RowBoxes]:
    """Return what was drawn on test sets whose lesions are marked by boxes, with the row's threshold."""
    thresholds = {(row.test, row.subset): row.threshold for row in rows}
    found = {}
    for test, by_label in states:
        for label, state in by_label.items():
            if state.boxes:
                decided = thresholds.get((test.name, label))
                found[test.name, label] = row_boxes(
                    test.name, label, None if decided is None else decided.value, state.boxes
                )
    return found


def _sites(data: ProtocolData, states: Sequence[tuple[TestSet, Mapping[str, RowState]]]) -> dict[str, dict[str, str]]:
    """Return the site of each scored subject by test set; only test sets whose table names two sites."""
    found = {}
    for test, by_label in states:
        subjects = sorted({str(record["subject"]) for state in by_label.values() for record in state.records})
        store = data.stores[test.dataset]
        sites = {name: subject_facts(store, name)[2] for name in subjects}
        if len({site for site in sites.values() if site}) > 1:
            found[test.name] = {name: site for name, site in sites.items() if site}
    return found
