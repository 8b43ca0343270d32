"""Many patients, from a folder in a known layout or from a CSV table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyadbench.data.phantom.embedded import EMBEDDED
from anyadbench.data.trees.problems import Problem, errors
from anyadbench.data.trees.reader import reader_of
from anyadbench.data.trees.survey import survey
from anyadbench.errors import UserError
from anyadbench.hashing import stable_hash
from anyadbench.names import entries, readable
from anyadbench.plugins import all_layouts, find_layout
from anyadbench.predict.inputs import is_dicom
from anyadbench.predict.write import MAP, read_scores
from anyadbench.sequences import SEQUENCES
from anyadbench.tables import read_table
from anyadbench.version import __version__

if TYPE_CHECKING:
    from anyadbench.data.trees.layouts import Layout
    from anyadbench.predict.predictor import Predictor


FORMAT = 3
"""Version of what a patient's files say; raise it whenever that changes. 2: no score where no slice counts; 3: the
names of all files."""

_SHOWN = 20
"""Files of a folder that are named because they are left out or doubtful."""


@dataclass(frozen=True)
class Patient:
    """One patient of a batch, or one scan of a patient who has several.

    Attributes:
        name: Name of the patient, usable as a folder name; with several scans it names the scan too.
        scans: The scan of each sequence.
        problem: Why no scan can be used, as a sentence; empty otherwise.
        subject: Whose scan it is; empty where only the name identifies them.
        scan: Which of the subject's scans it is; empty where nobody has several.
    """

    name: str
    scans: Mapping[str, Any]
    problem: str = ""
    subject: str = ""
    scan: str = ""


def from_table(path: Path) -> list[Patient]:
    """Read a CSV table with a column ``patient`` and one per sequence; empty fields are missing sequences.

    A column ``scan`` (a date, a session) distinguishes scans of one patient. Paths are relative to the table's folder.

    Raises:
        UserError: If it cannot be read, a column is unknown or repeated, or a line has no name or a repeated name; it
            names the line.
    """
    table = read_table(path, f"--table {path}", "give a table with a column 'patient' and one for each sequence")
    columns = table.columns
    unknown = [name for name in columns if name not in ("patient", "scan", *SEQUENCES)]
    if unknown or "patient" not in columns or not set(SEQUENCES) & set(columns):
        cause = f"has the column {unknown[0]!r}" if unknown else "lacks the column 'patient' or any sequence"
        raise UserError(f"--table {path} {cause}; name its columns patient,{','.join(SEQUENCES)}, and scan.")
    patients: dict[str, Patient] = {}
    for line in table.lines:
        subject, scan = line.cells["patient"], line.cells.get("scan", "")
        name = f"{subject}_{scan}" if subject and scan else subject
        given = {key: line.cells[key] for key in SEQUENCES if line.cells.get(key)}
        scans = {key: path.parent / os.path.expanduser(text) for key, text in given.items()}
        if not name or name in patients or not scans or name in (".", "..") or {"/", "\\"} & set(name):
            cause = "occurs twice" if name in patients else "cannot name a folder, or has no scan"
            more = ", or distinguish scans of one patient by a column 'scan'" if name in patients else ""
            raise UserError(
                f"--table {path}, line {line.number}: the patient {name!r} {cause}; correct that line{more}."
            )
        patients[name] = Patient(name, scans, subject=subject, scan=scan)
    if not patients:
        raise UserError(f"--table {path} has no line below its header; add one line per patient.")
    return list(patients.values())


def from_folder(
    folder: Path,
    dataset: str | None,
    option: str = "--data",
    said: Callable[[str], object] = lambda text: None,
) -> list[Patient]:
    """Find the patients of a folder in a known layout; segmentations are neither needed nor read.

    ``option`` is the one that named the folder; ``said`` is called with a sentence for each of the first files that are
    left out or doubtful, and one for the number of the others.

    A patient with faulty files, such as two for one sequence, is listed with the problem and not left out.

    Raises:
        UserError: If no layout fits, several do, or the layout has no volumes.
    """
    layout = find_layout(dataset) if dataset else _guess(folder, option)
    if not reader_of(layout).for_prediction or layout.channels:
        raise UserError(
            f"{option} {folder}: the layout {layout.name} has no NIfTI volume per sequence; give NIfTI files in a "
            "--table."
        )
    found = survey(folder, _for_prediction(layout))
    patients = {scan.scan: Patient(scan.scan, dict(scan.files), subject=scan.subject) for scan in found.scans}
    _say([each for each in found.problems if each.severity != "error"], f"{option} {folder}", said)
    for problem in errors(found.problems):
        name = problem.scan or readable(Path(problem.file).name)
        patients.setdefault(name, Patient(name, {}, problem.sentence))
    listed = [patients[name] for name in sorted(patients)]
    subjects = [patient.subject for patient in listed if patient.subject]
    if len(set(subjects)) == len(subjects):
        return listed
    return [replace(patient, scan=patient.name) if patient.subject else patient for patient in listed]


def _for_prediction(layout: Layout) -> Layout:
    """Return a layout under which neither a segmentation nor a sequence is missed: a patient may have any of them."""
    return replace(layout, healthy=True, expected=())


def _say(warnings: list[Problem], given: str, said: Callable[[str], object]) -> None:
    for warning in warnings[:_SHOWN]:
        said(f"{given}: {warning.sentence}")
    if (more := len(warnings) - _SHOWN) > 0:
        said(f"{given}: there are {more} more of such files; 'anyadbench data verify' lists all.")


def _guess(folder: Path, option: str) -> Layout:
    fitting: list[Layout] = []
    for layout in all_layouts().values():
        again = layout.name in EMBEDDED and any(item.name in EMBEDDED for item in fitting)  # phantoms look alike
        if again:
            continue
        try:
            fits = reader_of(layout).for_prediction and survey(folder, _for_prediction(layout))
        except UserError:
            continue
        if fits:
            fitting.append(layout)
    special = [item for item in fitting if not item.general]
    fitting = special or fitting
    # Releases that share their names differ in what they say about labels, which prediction does not read.
    fitting = fitting[:1] if len({item.patterns for item in fitting}) == 1 else fitting
    if len(fitting) != 1:
        cause = f"fits several layouts ({', '.join(item.name for item in fitting)})" if fitting else "fits no layout"
        raise UserError(f"{option} {folder} {cause}; name one with --dataset, or list the files in a --table.")
    return fitting[0]


def request_hash(patient: Patient, predictor: Predictor, settings: Any) -> str:
    """Return a hash of everything that a patient's files depend on.

    That is the model, its method's installed code, the settings (threshold, smallest cluster, calibration), the
    patient's name, and the scans' sizes and times.
    """
    files: list[Any] = []
    for name, path in patient.scans.items():
        series = path.is_dir() or is_dicom(path)  # a DICOM file means the series beside it
        parts = entries(path if path.is_dir() else path.parent) if series else [path, *_partner(path)]
        stats = [(part.name, part.stat()) for part in parts if part.exists()]
        files.append([name, str(path), [[part, stat.st_size, stat.st_mtime_ns] for part, stat in stats]])
    return stable_hash([__version__, FORMAT, predictor.identity, settings, patient.name, files])


def _partner(path: Path) -> list[Path]:
    from anyadbench.data.trees.nifti_file import partner

    return [found for found in [partner(path)] if found is not None]


def is_done(folder: Path, request: str) -> bool:
    """Whether a folder contains the finished prediction of a request, with all its files."""
    scores = read_scores(folder)
    needed = (MAP, *scores.get("files", ()))
    return scores.get("request") == request and all((folder / name).is_file() for name in needed)
