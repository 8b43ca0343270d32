"""Slices and pixels are counted in many files of a cell; all of them must agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.boards.aggregate.recompute import Statistics
from anyadbench.boards.verify.condense import NEAR, left_out
from anyadbench.boards.verify.findings import CellReport, at
from anyadbench.metrics.rows.row_numbers import IGNORED_PX
from anyadbench.protocols.model import Protocol
from anyadbench.results.cellfiles import SliceRecord
from anyadbench.results.schema import CellResult

if TYPE_CHECKING:
    from anyadbench.metrics.rows.brain_pixels import Ranked
    from anyadbench.metrics.rows.row_pixels import RowPixels

_PIXELS = "scores/pixels.npz"


def check_counts(
    report: CellReport, result: CellResult, protocol: Protocol, manifest: dict[str, Any], statistics: Statistics
) -> None:
    """Check the number of pixels of each subject, lesion pixels, scored slices, and subjects of the test sets."""
    grids: dict[str, set[int]] = defaultdict(set)
    for (test, subset), row in statistics.pixels.items():
        records = statistics.slices.get((test, subset), [])
        where = f"{test}, {subset}"
        size = _check_subjects(report, where, row, records)
        grids[test].add(size)
        emptied = next((one.n_emptied for one in result.rows if (one.test, one.subset) == (test, subset)), 0)
        abnormal = sum(record["label"] for record in records) - emptied
        if (test, subset) in statistics.whole.boxes:  # labels are boxes, so that no slice has a mask
            continue
        if row.steps.components < abnormal or row.steps.lesion_pixels < row.steps.components:
            text = f"{where}: {row.steps.components} lesions and {row.steps.lesion_pixels} lesion pixels cannot lie in"
            report.note(_PIXELS, f"{text} {abnormal} abnormal slices.")
        for ranked in (row.field, row.brain):
            if ranked is not None:
                _check_left_out(report, where, row.subjects, ranked)
        _check_labels(report, where, protocol, records, emptied)
        if _native(protocol) and protocol.slices.cavity:
            wanted = sum(record["lesion_px"] for record in records if record["label"])
            _agree(report, _PIXELS, f"{where}: the lesion pixels", row.steps.lesion_pixels, "the slice table", wanted)
    for name in (test.name for test in protocol.tests):
        _check_grid(report, protocol, manifest, name, grids.get(name, set()))
    scored = result.timings.get("scored_slices")
    if scored is not None and result.kind != "external":
        wanted = sum(len(records) for records in statistics.slices.values())
        _agree(report, "result.json", "timings.scored_slices", round(scored), "the slice table", wanted)
    _check_names(report, manifest, statistics, protocol)


def _check_left_out(report: CellReport, where: str, subjects: Sequence[str], ranked: Ranked) -> None:
    """Check stored values without each subject against the counts of the subjects, which are coarser."""
    if ranked.cohort.left_out is None:
        return
    found, stored = left_out(ranked, ranked.cohort), ranked.cohort.left_out
    report.numbers += stored.size
    differs = (np.isnan(found) != np.isnan(stored)) | (np.abs(found - stored) > NEAR)
    for subject, metric in np.argwhere(differs)[:1]:
        name = ranked.steps.region.names[metric]
        what = f"{where}: {name} without {subjects[subject]} is {stored[subject, metric]:.4f}"
        report.note(_PIXELS, f"{what}, but the subjects' counts give {found[subject, metric]:.4f}.")


def _check_labels(
    report: CellReport, where: str, protocol: Protocol, records: Sequence[SliceRecord], emptied: int
) -> None:
    """Check labels against areas: on its own grid, a slice with the label abnormal and no lesion is an emptied one."""
    wrong = next((one for one in records if not one["label"] and one["lesion_px"]), None)
    if wrong is not None:
        text = f"slice {wrong['slice']} of {wrong['scan']} has no lesion by its label, but {wrong['lesion_px']} pixels"
        report.note("scores/slices.csv", f"{where}: {text} of one.")
    empty = sum(bool(one["label"]) and not one["lesion_px"] for one in records)
    report.numbers += 1
    if empty > emptied or (_native(protocol) and empty != emptied):
        text = f"{where}: n_emptied is {emptied}, but {empty} abnormal slices of the slice table have no lesion pixel."
        report.note("result.json", text)


def _native(protocol: Protocol) -> bool:
    return protocol.scoring_grid == (0, 0) and "geometry" not in protocol.training_part()


def _check_subjects(report: CellReport, where: str, row: RowPixels, records: Sequence[SliceRecord]) -> int:
    """Check that each subject has its slices' pixels except ignored ones; return the pixels of a slice."""
    slices, ignored = Counter(record["subject"] for record in records), Counter[str]()
    for record in records:
        ignored[record["subject"]] += record.get(IGNORED_PX, 0)
    counted = row.cohort.gaps.sum(axis=1) + row.cohort.tied.sum(axis=1) + row.cohort.lesions.sum(axis=1)
    pixels = dict(zip(row.subjects, counted.tolist(), strict=True))
    size = round((sum(pixels.values()) + sum(ignored.values())) / max(sum(slices.values()), 1))
    for name, found in pixels.items():
        report.numbers += 1
        wanted = slices[name] * size - ignored[name]
        if found != wanted:
            text = f"{where}: {name} has {found} pixels, but its {slices[name]} slices in the slice table have"
            report.note(_PIXELS, f"{text} {wanted}{' that count' if ignored[name] else ''}.")
            break
    wrong = next((one for one in records if not 0 <= one.get(IGNORED_PX, 0) <= size * one["label"]), None)
    if wrong is not None:
        text = f"slice {wrong['slice']} of {wrong['scan']} cannot have {wrong[IGNORED_PX]} ignored pixels"
        report.note("scores/slices.csv", f"{where}: {text}.")
    return size


def _check_grid(report: CellReport, protocol: Protocol, manifest: dict[str, Any], test: str, found: set[int]) -> None:
    height, width = protocol.scoring_grid
    dataset = next(one.dataset for one in protocol.tests if one.name == test)
    wanted = height * width
    stored = at(manifest, "input.grid")
    if _native(protocol) and dataset == protocol.train and isinstance(stored, list) and len(stored) == 2:
        wanted = int(stored[0]) * int(stored[1])
    if len(found) > 1:
        report.note(_PIXELS, f"{test}: rows have slices of {' and '.join(map(str, sorted(found)))} pixels.")
    elif wanted and found and found != {wanted}:
        report.note(_PIXELS, f"{test}: a slice has {min(found)} pixels, but the grid of manifest.json has {wanted}.")


def _check_names(report: CellReport, manifest: dict[str, Any], statistics: Statistics, protocol: Protocol) -> None:
    """Check that subjects of the tables are test subjects, and that a scan has one subject."""
    owner: dict[tuple[str, str], str] = {}
    for (test, subset), records in statistics.slices.items():
        dataset = next((one for one in protocol.tests if one.name == test), None)
        listed = at(manifest, f"data.{dataset.dataset}.selection.subjects.test") if dataset is not None else None
        for record in records:
            known = owner.setdefault((test, record["scan"]), record["subject"])
            if known != record["subject"]:
                report.note("scores/slices.csv", f"{record['scan']} belongs to {known} and to {record['subject']}.")
                return
            if isinstance(listed, list) and record["subject"] not in listed:
                text = f"{test}, {subset}: {record['subject']} is no test subject of the selection in manifest.json."
                report.note("scores/slices.csv", text)
                return


def _agree(report: CellReport, name: str, what: str, found: int, source: str, wanted: int) -> None:
    report.numbers += 1
    if found != wanted:
        report.note(name, f"{what} are {found}, but {source} gives {wanted}.")
