"""Making a calibration: a site's normals predicted with a cell, for every subset that their sequences serve."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.data.trees.nifti_file import partner
from anyadbench.data.trees.problems import BadFile
from anyadbench.errors import UserError
from anyadbench.files import make_folder, read_json, write_json
from anyadbench.hashing import sha256_file, sha256_tree, stable_hash
from anyadbench.names import readable_values
from anyadbench.predict.findings.calibration import FORMAT, RATE, RECORD, SCORES, alarm_threshold, fewest_for
from anyadbench.predict.findings.compare import FEWEST, relative_heights
from anyadbench.predict.findings.drift import drift, warnings
from anyadbench.predict.inputs import is_dicom
from anyadbench.predict.prediction import USE
from anyadbench.predict.prepare.plan import NOTHING, Plan
from anyadbench.results.normals import (
    Normals,
    NormalScores,
    load_normals,
    normal_slice,
    normals_of,
    quantiles,
    save_normals,
)
from anyadbench.sequences import format_subset
from anyadbench.version import __version__

if TYPE_CHECKING:
    from anyadbench.predict.batch import Patient
    from anyadbench.predict.prediction import Prediction
    from anyadbench.predict.predictor import Predictor

OPTION = "--out"

WORK = "scans"
"""Folder of the scans that are done: an interrupted command resumes from them, and more normals can be added later."""


@dataclass(eq=False)
class Calibrator:
    """Predicts a site's normals and makes a calibration of them.

    Attributes:
        predictor: The cell, ready for patients.
        out: Folder to write into.
        subsets: Labels to calibrate; empty for all of the protocol.
        plan: How the scans are prepared.
        said: Called with each sentence that the reader should know about a scan that is predicted now.
        done: Scores of each scan, in the order they were added.
        subjects: Whose scan each is.
        files: Hashes of each scan's files by sequence.
        notes: How many sentences of ``said`` there are on each scan, those of an earlier run included.
    """

    predictor: Predictor
    out: Path
    subsets: Sequence[str] = ()
    plan: Plan = NOTHING
    said: Callable[[str], object] = lambda text: None
    done: list[NormalScores] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    files: list[dict[str, str]] = field(default_factory=list)
    notes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.predictor.own:
            raise UserError(
                "--weights replaces what the cell learnt by another network, which a calibration of the cell would "
                "not describe; leave the option out."
            )
        known = [format_subset(subset) for subset in self.predictor.cell.protocol.subsets]
        wrong = [label for label in self.subsets if label not in known]
        if wrong:
            raise UserError(f"--subset {wrong[0]}: the cell's protocol evaluates {', '.join(known)}; give one of them.")
        if (self.out / SCORES).exists() and not (self.out / RECORD).exists() and not (self.out / WORK).exists():
            raise UserError(
                f"{self.out / SCORES} was not written by 'anyadbench calibrate' and would be replaced; give another "
                "--out folder, or move the file."
            )

    def add(self, patient: Patient, progress: Callable[[int, int], None] = lambda done, total: None) -> bool:
        """Predict one scan with every subset that it can serve; return whether that was done before.

        Raises:
            UserError: If a file cannot be used, or it has none of the cell's sequences.
        """
        if patient.problem:
            raise UserError(patient.problem)
        files = {name: _sha256(Path(path)) for name, path in patient.scans.items()}
        wanted = [
            subset
            for subset in self.predictor.cell.protocol.subsets
            if set(subset) <= patient.scans.keys() and (not self.subsets or format_subset(subset) in self.subsets)
        ]
        if not wanted:
            raise UserError(
                f"{patient.name} has {', '.join(patient.scans)}, which serves no subset to calibrate; leave it out."
            )
        labels = [format_subset(subset) for subset in wanted]
        key = stable_hash([__version__, self.predictor.identity, files, labels, str(self.plan)])
        path = self.out / WORK / f"{key[:32]}.npz"
        counts = path.with_suffix(".json")
        known = path.is_file() and counts.is_file()
        if not known:
            found, notes = self._score(patient, wanted, progress)
            for note in notes:
                self.said(note)
            make_folder(path.parent, OPTION)
            write_json(counts, {"notes": len(notes)}, OPTION)
            save_normals(path, found, OPTION)  # last: it says that the scan is done
        self.done.append(load_normals(path, str(path)))
        self.subjects.append(patient.subject or patient.name)
        self.files.append(files)
        self.notes.append(int(read_json(counts)["notes"]))
        return known

    def _score(
        self, patient: Patient, wanted: Sequence[tuple[str, ...]], progress: Callable[[int, int], None]
    ) -> tuple[NormalScores, list[str]]:
        subsets: dict[str, Normals] = {}
        intensities: dict[str, np.ndarray] = {}
        notes: dict[str, None] = {}
        # As a patient's are, all sequences of a scan are prepared together; without preparation, some need not be read.
        used = {name for subset in wanted for name in subset}
        scans = {name: scan for name, scan in patient.scans.items() if name in used or not self.plan.idle}
        prepared = self.predictor.prepare(scans, self.plan)
        for number, subset in enumerate(wanted):
            own = replace(prepared, inputs=[item for item in prepared.inputs if item.sequence in subset])

            def step(done: int, total: int, number: int = number) -> None:
                progress(number * total + done, len(wanted) * total)

            found = self.predictor.predict(scans, prepare=own, threshold=0.0, progress=step)
            notes |= dict.fromkeys(note for note in found.notes if note not in self.predictor.notes)
            subsets[format_subset(subset)] = _one_scan(found)
            intensities |= _intensities(found)
        return NormalScores(subsets, intensities, "site"), list(notes)

    def write(self, dataset: str, failed: int) -> dict[str, Any]:
        """Write the calibration and return its record.

        Args:
            dataset: Layout or table that the scans come from.
            failed: Scans that could not be used.

        Raises:
            UserError: If no subset has enough subjects, or the folder cannot be written.
        """
        own = self.predictor.cell
        normals, notes = self._pooled()
        subsets = {label: self._subset(label, one) for label, one in normals.subsets.items()}
        differs = drift(normals, own.normals)
        kind = own.normals.described if own.normals is not None else ""
        make_folder(self.out, OPTION)
        save_normals(self.out / SCORES, normals, OPTION)
        short = [label for label, entry in subsets.items() if entry["alarm"] is None]
        if short:
            notes.append(
                f"No alarm threshold for {', '.join(short)}: to promise that at most {RATE:.0%} of normals alarm takes "
                f"{fewest_for()} subjects."
            )
        record = {
            "format": FORMAT,
            "use": USE,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "anyadbench": __version__,
            "cell": {"folder": own.folder.name, "cell_id": own.result.cell_id, "method": own.job.method,
                     "protocol": own.protocol.name, "seed": own.job.seed},
            "dataset": dataset,
            "prepare": str(self.plan),
            "counts": {"scans": len(self.done), "subjects": len(set(self.subjects)), "failed": failed},
            "files_sha256": self.files,
            "subsets": subsets,
            "drift": differs,
            "notes": notes + warnings(differs, kind),
            "notes_on_scans": {"notes": sum(self.notes), "scans": sum(count > 0 for count in self.notes)},
            "normals_sha256": sha256_file(self.out / SCORES),
        }  # fmt: skip
        plain: dict[str, Any] = readable_values(record)
        write_json(self.out / RECORD, plain, OPTION)
        return plain

    def _pooled(self) -> tuple[NormalScores, list[str]]:
        """Return the scores of all scans by subset, and a note for every subset with too few subjects."""
        if len(set(self.subjects)) < FEWEST:
            raise UserError(
                f"--normals holds {len(set(self.subjects))} usable subjects; a threshold takes at least {FEWEST}, an "
                f"alarm for {RATE:.0%} of normals at least {fewest_for()}: add normals."
            )
        found: dict[str, Normals] = {}
        notes = []
        for label in (format_subset(subset) for subset in self.predictor.cell.protocol.subsets):
            own = [i for i, scan in enumerate(self.done) if label in scan.subsets]
            people = {name: number for number, name in enumerate(dict.fromkeys(self.subjects[i] for i in own))}
            if own and len(people) < FEWEST:
                notes.append(f"No threshold for {label}: {len(people)} of the subjects have it; it takes {FEWEST}.")
            if len(people) >= FEWEST:
                found[label] = pooled(
                    [self.done[i].subsets[label] for i in own], [people[self.subjects[i]] for i in own]
                )
        if not found:
            raise UserError(
                f"--normals: no subset of sequences is served by {FEWEST} subjects, the fewest for a threshold; add "
                "normals that have the same sequences."
            )
        names = dict.fromkeys(name for scan in self.done for name in scan.intensities)
        intensities = {
            name: np.concatenate([scan.intensities[name] for scan in self.done if name in scan.intensities])
            for name in names
        }
        return NormalScores(found, intensities, "site"), notes

    def _subset(self, label: str, normals: Normals) -> dict[str, Any]:
        highest: dict[int, float] = {}
        for subject, score in zip(normals.subjects.tolist(), normals.scan_scores.tolist(), strict=True):
            highest[subject] = max(score, highest.get(subject, score))
        alarm = alarm_threshold(list(highest.values()))
        cell = self.predictor.cell.normals
        own = cell.subsets.get(label) if cell is not None else None
        return {
            "threshold": normals.threshold,
            "cell_threshold": None if own is None else own.threshold,
            "scans": len(normals.scan_scores),
            "subjects": normals.n_subjects,
            "slices": normals.n_slices,
            "alarm": None if alarm is None else {"threshold": alarm, "rate": RATE, "subjects": normals.n_subjects},
        }


def pooled(scans: Sequence[Normals], subjects: Sequence[int], quantile: float = 0.99) -> Normals:
    """Return the slices of several scans as one table, with the quantile of all their brain pixels as threshold.

    The quantile comes from the kept tails, so the share above it is exact to about a hundredth of itself.

    Args:
        scans: Of one scan each.
        subjects: Whose scan each is, as numbers.
        quantile: Share of the brain pixels that are not above the threshold.
    """
    names = scans[0].slices.keys()
    columns = {name: np.concatenate([scan.slices[name] for scan in scans]) for name in names}
    columns["scan"] = np.concatenate([np.full(scan.n_slices, i) for i, scan in enumerate(scans)])
    scores = np.concatenate([scan.scan_scores for scan in scans])
    found = Normals(0.0, columns, scores, np.array(subjects, np.int64))
    weights = columns["pixels"] / columns["pixels"].sum()
    low, high = float(columns["tail"].min()), float(columns["peak"].max())
    for _ in range(60):
        middle = (low + high) / 2
        above = float((found.shares(middle) * weights).sum())
        low, high = (middle, high) if above > 1 - quantile else (low, middle)
    return replace(found, threshold=float(np.float32(high)))


def _one_scan(found: Prediction) -> Normals:
    """Return the slices that count of one prediction."""
    rows = []
    for i, height in enumerate(relative_heights(found)):
        own = found.grid_maps[i][found.grid_brain[i]]
        if found.slices[i].counted and len(own):
            rows.append(normal_slice(0, height, own, found.slices[i].score))
    if not rows:
        raise UserError(
            f"{found.inputs[found.first]['file']}: no slice has as much brain as the protocol requires; leave the scan "
            "out, or give the whole head."
        )
    assert found.patient_score is not None  # a slice counts
    return normals_of(rows, 0.0, [found.patient_score], [0])


def _intensities(found: Prediction) -> dict[str, np.ndarray]:
    counted = np.flatnonzero([item.counted for item in found.slices])
    values = found.data.values(counted)
    names = found.data.protocol.sequences
    pictures = {name: values[:, names.index(name)] for name in found.shown}
    return {name: quantiles(own[own > 0])[None] for name, own in pictures.items() if (own > 0).any()}


def _sha256(path: Path) -> str:
    """Return a hash of all that a scan is read from: a folder, one file, both of a pair, or those of a DICOM series.

    Raises:
        UserError: If it is a pipe or a device, which might be waited for without end, or its series cannot be used.
    """
    if path.is_dir():
        return sha256_tree(path)
    if path.exists() and not path.is_file():
        cause = "is neither a file nor a folder, but a pipe or a device"
        raise BadFile(path, cause, "save the scan to a file first")
    if is_dicom(path):
        from anyadbench.predict.dicom import series_stack

        files = sorted(series_stack(path)[0])
    else:
        files = [path, *([other] if (other := partner(path)) is not None else [])]
    hashes = [sha256_file(file) for file in files]
    return hashes[0] if len(hashes) == 1 else stable_hash(hashes)
