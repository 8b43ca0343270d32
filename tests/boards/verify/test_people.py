"""Nobody may be left out of whole scans and alarms, and nobody may be called healthy against the selection."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cell_fixture import change_json, reseal

from anyadbench.boards.aggregate.recompute import read_statistics, read_whole_scans
from anyadbench.boards.verify.cell import check_cell
from anyadbench.boards.verify.findings import CellReport
from anyadbench.hashing import stable_hash
from anyadbench.launch.recheck import _compare_runs
from anyadbench.metrics.lesions.record import ScanRecord
from anyadbench.metrics.scans.scan_storage import to_arrays
from anyadbench.metrics.scans.whole_scans import RowScans, SubjectScore
from anyadbench.results.arrays import save_arrays
from anyadbench.results.read import load_result, read_json
from anyadbench.results.subject_tables import write_scores
from anyadbench.sequences import AS_AVAILABLE

VALIDATED, TESTED = ("v1", "v2", "v3"), ("h1", "h2")
Scores = list[SubjectScore]


def healthy_scan(record: ScanRecord) -> ScanRecord:
    """Return the record of a scan without a lesion, and with one false alarm where there is a threshold."""
    nothing = {"lesion_voxels": np.empty(0, np.int64), "lesion_scores": np.empty(0, np.float32)}
    counts = {"truth": 0, "hit": min(record.hit, 0), "best_hit": 0, "grid_hit": 0 * record.grid_hit}
    bins = np.array([1, 0, 0, 0]) * (record.predicted > 0)
    return replace(record, **nothing, **counts, lesion_found=np.empty(0, np.bool_), alarm_bins=bins)


def write(cell: Path, rows: Sequence[RowScans], scores: Sequence[SubjectScore]) -> None:
    """Write scans and scores, what the result says of them, and all hashes."""
    save_arrays(cell / "scores/scans.npz", to_arrays(rows))
    write_scores(cell / "scores/healthy.csv", scores)
    statistics = read_statistics(cell, "F+T1+T1CE+T2")

    def follow(result: dict[str, Any]) -> None:
        result["files"]["scores/healthy.csv"] = ""
        for row in result["rows"]:
            numbers, _ = statistics.row((row["test"], row["subset"]))
            row.update({name: numbers[name] for name in ("scans", "alarms") if name in numbers})

    change_json(cell / "result.json", follow)
    reseal(cell)


@pytest.fixture
def cell(volume_cell: Path, tmp_path: Path) -> Path:
    """A cell with healthy subjects, two of them tested: with whole scans and scores, as a run writes them."""
    cell = Path(shutil.copytree(volume_cell, tmp_path / "cells" / volume_cell.name))
    scores, rows = [], []
    for (test, subset), row in read_whole_scans(cell).rows.items():
        records = (*row.records, *(healthy_scan(row.records[0]) for _ in TESTED))
        rows.append(
            replace(row, subjects=(*row.subjects, *TESTED), scans=(*row.scans, "h1_a", "h2_a"), records=records)
        )
        people = [("", "val", name) for name in VALIDATED] + [(test, "test", name) for name in rows[-1].subjects]
        scores += [
            SubjectScore(place, subset, part, name, name in (*VALIDATED, *TESTED), float(number), 50.0, "F", "Oslo")
            for number, (place, part, name) in enumerate(people)
        ]

    def select(manifest: dict[str, Any]) -> None:
        (entry,) = manifest["data"].values()
        selection = entry["selection"]
        slices = {"train": {}, "val": {f"{name}_a": [1] for name in VALIDATED}, "test": {"h1_a": [1], "h2_a": [1]}}
        subjects = {"train": [], "val": list(VALIDATED), "test": list(TESTED)}
        selection["healthy"] = {"normals": "lesion-free", "subjects": subjects, "slices": slices}
        selection["hash"] = stable_hash({key: value for key, value in selection.items() if key != "hash"})

    change_json(cell / "manifest.json", select)
    write(cell, rows, scores)
    return cell


def without(name: str, subset: str = "") -> Callable[[list[RowScans]], list[RowScans]]:
    """Return a forgery that leaves a subject's scans out of all rows, or of one."""

    def kept(row: RowScans) -> RowScans:
        own = [place for place, who in enumerate(row.subjects) if who != name or row.subset != (subset or row.subset)]
        parts = (tuple(listed[place] for place in own) for listed in (row.subjects, row.scans, row.records))
        return replace(row, **dict(zip(("subjects", "scans", "records"), parts, strict=True)))  # type: ignore[arg-type]

    return lambda rows: [kept(row) for row in rows]


def alike(rows: list[RowScans]) -> list[RowScans]:
    return rows


FORGERIES: dict[str, tuple[Callable[[list[RowScans]], list[RowScans]], Callable[[Scores], Scores], str]] = {
    "a healthy test subject without a score": (
        alike,
        lambda scores: [one for one in scores if one.subject != "h1"],
        "h1 is only in one of it and scores/scans.npz",
    ),
    "a healthy test subject left out of everything": (
        without("h1"),
        lambda scores: [one for one in scores if one.subject != "h1"],
        "phantom: h1 has no scan, but is a test subject of manifest.json",
    ),
    "a healthy test subject left out of one row": (
        without("h1", "F+T1"),
        lambda scores: [one for one in scores if one.subject != "h1" or one.subset != "F+T1"],
        "is in only one of this row and those of its sequences",
    ),
    "a healthy test subject left out of every row but one": (
        lambda rows: [row if row.subset == AS_AVAILABLE else without("h1")([row])[0] for row in rows],
        lambda scores: [one for one in scores if one.subject != "h1" or one.subset == AS_AVAILABLE],
        "h1_a is only in one of the row as available and those of single sequences",
    ),
    "a healthy subject called a patient": (
        alike,
        lambda scores: [replace(one, healthy=one.healthy and one.subject != "h1") for one in scores],
        "h1 is a patient, but healthy by manifest.json",
    ),
    "a patient called healthy": (
        alike,
        lambda scores: [replace(one, healthy=True) for one in scores],
        "is healthy, but a patient by manifest.json",
    ),
    "a healthy validation subject left out": (
        alike,
        lambda scores: [one for one in scores if one.subject != "v2"],
        "v2 has no score, but is a healthy validation subject of manifest.json",
    ),
    "a healthy validation subject left out of one row": (
        alike,
        lambda scores: [one for one in scores if one.subject != "v2" or one.subset != "F+T1"],
        "F+T1: v2 validates only one of this row and those of its sequences",
    ),
    "another age in one row": (
        alike,
        lambda scores: [replace(one, age=20.0) if one.subset == "F" else one for one in scores],
        "rows disagree on age, sex or site of",
    ),
}


@pytest.mark.parametrize("what", FORGERIES)
def test_who_was_left_out_or_renamed_is_named(cell: Path, what: str) -> None:
    assert check_cell(cell).problems == []
    whole = read_whole_scans(cell)
    rows, scores, named = FORGERIES[what]
    write(cell, rows(list(whole.rows.values())), scores(list(whole.scores)))
    problems = check_cell(cell).problems
    assert any(named in problem for problem in problems), problems


def impossible(record: ScanRecord, **changes: Any) -> ScanRecord:
    """Return a changed record that is still possible for itself."""
    changed = replace(record, **changes)
    changed.check()
    return changed


RECORDS: dict[str, tuple[Callable[[RowScans], RowScans], str]] = {
    "thresholds that rise": (lambda row: replace(row, grid=row.grid[::-1]), "the common thresholds do not fall"),
    "counts of other thresholds": (
        lambda row: replace(row, grid=tuple((row.threshold or 0) + 1e3 - place for place in range(len(row.grid)))),
        "against the counts at the common thresholds",
    ),
    "lesions that score below the threshold": (
        lambda row: replace(
            row,
            records=tuple(
                impossible(
                    one, lesion_scores=one.lesion_scores - np.float32(1e6),
                    lesion_found=np.ones_like(one.lesion_found), alarm_scores=one.alarm_scores[:0],
                    alarm_bins=0 * one.alarm_bins,
                )
                if len(one.lesion_scores) and one.predicted > 0 and np.isfinite(one.lesion_scores).all()
                else replace(one, alarm_scores=one.alarm_scores[:0])
                for one in row.records
            ),
        ),
        "has lesions that are found at the threshold, but score below it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", RECORDS)
def test_counts_against_their_thresholds_are_named(cell: Path, what: str) -> None:
    edit, named = RECORDS[what]
    whole = read_whole_scans(cell)
    write(cell, [edit(row) for row in whole.rows.values()], whole.scores)
    problems = check_cell(cell).problems
    assert any(named in problem for problem in problems), problems


def compared(cell: Path, again: Path, same_machine: bool = True) -> str:
    """Return what a repetition shows of a cell, on the same machine or on another."""
    report, manifest = CellReport(cell), read_json(again, "manifest.json")
    if not same_machine:
        manifest |= {"environment": {"device": "another"}}
    _compare_runs(report, load_result(read_json(cell, "result.json"), "result.json"), manifest, again)
    return " ".join((*report.problems, *report.remarks))


def test_a_rerun_compares_scans_alarms_and_thresholds(cell: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(cell, tmp_path / "again"))
    assert compared(cell, again) == compared(cell, again, same_machine=False) == ""
    whole = read_whole_scans(cell)
    rows = list(whole.rows.values())
    write(cell, rows, [replace(one, score=one.score + 1) for one in whole.scores])
    assert compared(cell, again).endswith("type of machine does not repeat it: scores/healthy.csv differs.")
    assert "differs by up to 0.0e+00 in its metrics" in compared(cell, again, same_machine=False)
    write(cell, rows, [replace(one, healthy=False) for one in whole.scores])
    text = "healthy.csv: running the cell again gives other scans or subjects: F, val, v1."
    assert text in compared(cell, again, same_machine=False)
    write(cell, without("h1")(rows), whole.scores)
    text = "scans.npz: running the cell again gives other scans or subjects: phantom, F, h1_a."
    assert text in compared(cell, again, same_machine=False)
    write(cell, rows, whole.scores)

    def decide(result: dict[str, Any]) -> None:
        result["rows"][0]["threshold"]["sensitivity"] += 0.1

    change_json(cell / "result.json", decide)
    text = "running the cell again gives another threshold.sensitivity of phantom, F: it differs by 0.1"
    assert text in compared(cell, again, same_machine=False)
