"""Real patients as test patients of a cell trained on the others: masks, volumes and scores inside the brain."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import anyadbench
from anyadbench.data.slices.rules import SplitRules
from anyadbench.data.slices.selection import split_subjects
from anyadbench.sequences import format_subset

SHARED = Path(os.environ.get("ANYADBENCH_SHARED", "") or "/nonexistent") / "data"
MS = {"flair": "FLAIR", "t1": "T1", "t2": "T2"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not (SHARED / "mslub").is_dir() or not (SHARED / "brats2018-mini").is_dir(),
        reason="the real patients are not at hand: set ANYADBENCH_SHARED to the folder that contains data/mslub",
    ),
]

DATA = {"mslub": ("mslub", "mslub-7subsets"), "brats2018": ("brats2018-mini", "brats-7subsets")}
PATIENTS = {
    "mslub": ("patient07", "patient26"),
    "brats2018": (
        "Brats18_2013_3_1", "Brats18_2013_4_1", "Brats18_2013_5_1", "Brats18_2013_6_1", "Brats18_TCIA_DU7294_1",
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Case:
    """One prediction of a real patient."""

    patient: str
    subset: str
    found: Any
    truth: np.ndarray

    @property
    def lesion_share(self) -> float:
        return float(self.truth.sum() / self.found.brain.sum())

    @property
    def lesion_ml(self) -> float:
        return float(self.truth.sum() * abs(np.linalg.det(self.found.affine[:3, :3])) / 1000)


def leaving_out(dataset: str, patient: str) -> str:
    """Return the data set's protocol with a split whose only test patient is the given one."""
    names = PATIENTS[dataset]
    for number in range(1000):
        rules = SplitRules(salt=f"fold {number}")
        if [name for name, part in split_subjects(names, rules).items() if part == "test"] == [patient]:
            break
    name = DATA[dataset][1]
    (path,) = (Path(anyadbench.__file__).parent / "protocols").rglob(f"{name}.toml")
    text = path.read_text(encoding="utf-8")
    for old, new in {
        f'name = "{name}"': f'name = "{patient.replace("_", "-").lower()}"',
        'salt = "anyadbench"': f'salt = "fold {number}"',
        "cover_subsets = true": "cover_subsets = false",
        "match_height = true": "match_height = false",
    }.items():
        text = text.replace(old, new, 1)
    return text


def files_of(dataset: str, patient: str) -> tuple[dict[str, Path], Path]:
    """Return a patient's scans of the protocols' sequences, and the lesion mask."""
    if dataset == "mslub":
        folder = SHARED / "mslub" / patient
        return {name: folder / f"{stem}.nii.gz" for name, stem in MS.items()}, folder / "GOLD_STANDARD.nii.gz"
    (folder,) = (SHARED / "brats2018-mini").glob(f"*/{patient}")
    scans = {name: folder / f"{patient}_{name}.nii.gz" for name in MS}
    return {name: path for name, path in scans.items() if path.is_file()}, folder / f"{patient}_seg.nii.gz"


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    """Every subset of every patient's sequences, predicted with a cell that was trained on the others."""
    root, found = tmp_path_factory.mktemp("real"), []
    for dataset, patients in PATIENTS.items():
        for patient in patients:
            protocol = root / f"{patient}.toml"
            protocol.write_text(leaving_out(dataset, patient), encoding="utf-8")
            command = [sys.executable, "-m", "anyadbench", "run", "--method", "pixelstats", "--budget", "demo"]
            options = ["--protocol", protocol, "--data", SHARED / DATA[dataset][0], "--runs", root / patient]
            done = subprocess.run(
                [*command, *map(str, options), "--keep-maps", "none"], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            (cell,) = (root / patient / "cells").glob("pixelstats_*_s0_*/")
            predictor = anyadbench.load(cell)
            assert predictor.cell.manifest["data"][dataset]["selection"]["subjects"]["test"] == [patient]
            scans, mask = files_of(dataset, patient)
            truth = np.asarray(nibabel.load(mask).dataobj) > 0
            subsets = [names for size in range(1, len(scans) + 1) for names in combinations(scans, size)]
            for names in subsets:
                one = predictor.predict({name: scans[name] for name in names})
                found.append(Case(patient, format_subset(names), one, truth))
    return found


def test_nothing_lies_outside_the_brain(cases: list[Case]) -> None:
    assert len(cases) == 2 * 7 + 4 + 7
    for case in cases:
        found = case.found
        assert found.brain[np.unravel_index(found.map.argmax(), found.map.shape)], (case.patient, case.subset)
        if found.mask is not None:
            assert not (found.mask & ~found.brain).any()
            assert found.volume_ml == pytest.approx(sum(item.volume_ml for item in found.clusters))
            assert all(found.brain[item.peak_index] for item in found.clusters)


def test_no_mask_exceeds_15_percent_of_the_brain_unless_the_lesion_does(cases: list[Case]) -> None:
    masked = [case for case in cases if case.found.mask is not None]
    assert len(masked) >= 2 * 7 + 3
    for case in masked:
        share = case.found.mask.sum() / case.found.brain.sum()
        assert share <= max(0.15, case.lesion_share), (case.patient, case.subset, share)


def test_a_mask_is_withheld_only_with_its_reason(cases: list[Case]) -> None:
    without = [case for case in cases if case.found.mask is None]
    for case in without:
        assert any(note.startswith("No mask: ") for note in case.found.notes), (case.patient, case.subset)
    # The complete BraTS patient's T1 and T2 were never trained on: the others have FLAIR alone of the three.
    untrained = [case.subset for case in without if case.found.threshold is None]
    assert sorted(untrained) == ["F+T1", "F+T1+T2", "F+T2", "T1", "T1+T2", "T2"]
    assert {case.patient for case in without if case.found.threshold is None} == {"Brats18_TCIA_DU7294_1"}


def test_a_volume_has_its_range_or_is_not_shown(cases: list[Case]) -> None:
    from anyadbench.predict.findings.sentences import top_line

    for case in cases:
        line = top_line(case.found.as_json())
        if case.found.reference is None:
            assert " ml above" not in line, line
        elif case.found.mask is not None:
            assert "; normal slices of this brain volume have " in line, line


def test_no_output_presents_the_patient_score_as_a_lesion_load(cases: list[Case]) -> None:
    # Two patients, each scored by another model, cannot show that scores follow lesion load; the output says so.
    loads = {case.patient: case.lesion_ml for case in cases if case.patient in PATIENTS["mslub"]}
    assert loads["patient07"] < loads["patient26"]
    for case in cases:
        assert "it is not a measure of lesion load" in case.found.as_json()["patient_score_means"]
