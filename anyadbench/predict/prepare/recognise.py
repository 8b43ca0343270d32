"""Which file or series of a folder is which sequence: from DICOM tags or file names, asked where it is not plain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from anyadbench.errors import UserError
from anyadbench.names import files_below
from anyadbench.predict.inputs import is_dicom
from anyadbench.predict.prepare.kinds import kind_of_text, kind_of_timing, no_sequence
from anyadbench.sequences import SEQUENCES, SHORT

Ask = Callable[[str, list[str]], int]
"""Shows a question with its choices and returns the number of one, from 1; 0 is none."""

_SERIES, _MODALITY, _DESCRIPTION, _PROTOCOL = "0020|000e", "0008|0060", "0008|103e", "0018|1030"
_REPETITION, _ECHO, _INVERSION, _AGENT, _TYPE = "0018|0080", "0018|0081", "0018|0082", "0018|0010", "0008|0008"

_NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Candidate:
    """A file or series that may be a sequence.

    Attributes:
        path: NIfTI file, or the first file of a DICOM series.
        kind: The sequence that it seems to be; empty if none.
        text: What it is recognised from, as it may be shown to the user.
    """

    path: Path
    kind: str
    text: str


def recognise(folder: Path, given: Mapping[str, Path] | None = None, ask: Ask | None = None) -> dict[str, Path]:
    """Return the path of each sequence in a folder.

    Args:
        folder: One patient's scans: NIfTI files, or DICOM files in any subfolders.
        given: Sequences that the user named; they are not searched for.
        ask: Lets the user choose between several candidates; without it, they are listed in the error.

    Raises:
        UserError: If the folder cannot be read, nothing is recognised, the DICOM is of another modality, or several
            candidates remain and nobody can be asked.
    """
    if not folder.is_dir():
        raise UserError(f"--scan {folder}: there is no such folder; give the folder with one patient's scans.")
    found = dict(given or {})
    candidates = _candidates(folder)
    for sequence in SEQUENCES:
        fitting = [one for one in candidates if one.kind == sequence]
        if sequence in found or not fitting:
            continue
        if len(fitting) == 1:
            found[sequence] = fitting[0].path
        elif chosen := _choose(folder, sequence, fitting, ask):
            found[sequence] = chosen.path
    if not found:
        seen = "; ".join(f"{one.text}" for one in candidates[:8]) or "no NIfTI file and no DICOM series"
        raise UserError(
            f"--scan {folder}: no sequence was recognised in it ({seen}); name the files with --flair, --t1, --t1ce or "
            "--t2."
        )
    return found


def _choose(folder: Path, sequence: str, fitting: list[Candidate], ask: Ask | None) -> Candidate | None:
    texts = [one.text for one in fitting]
    if ask is not None:
        number = ask(f"{folder} has {len(fitting)} candidates for {SHORT[sequence]}:", texts)
        return fitting[number - 1] if number else None
    listed = "; ".join(texts)
    raise UserError(
        f"--scan {folder} has {len(fitting)} candidates for {SHORT[sequence]} ({listed}); choose one with "
        f"--{sequence} {fitting[0].path}, for example."
    )


def _candidates(folder: Path) -> list[Candidate]:
    files = list(files_below(folder))
    dicom = [path for path in files if not path.name.endswith(_NIFTI) and is_dicom(path)]
    named = [path for path in files if path.name.lower().endswith(_NIFTI)]
    found = []
    for path in named:
        where = path.relative_to(folder)
        if not no_sequence(path.name):
            found.append(Candidate(path, kind_of_text(path.name), str(where)))
    return found + (_series(folder, dicom) if dicom else [])


def _series(folder: Path, files: list[Path]) -> list[Candidate]:
    groups: dict[tuple[Path, str], list[tuple[Path, dict[str, str]]]] = {}
    for path in files:
        tags = _tags(path)
        groups.setdefault((path.parent, tags.get(_SERIES, "")), []).append((path, tags))
    modalities = {members[0][1].get(_MODALITY, "MR") for members in groups.values()}
    if "MR" not in modalities:
        kinds = ", ".join(sorted(modalities))
        raise UserError(f"--scan {folder} holds DICOM of the modality {kinds} and no MR; give the folder of an MRI.")
    found = []
    for members in groups.values():
        path, tags = members[0]
        if tags.get(_MODALITY, "MR") != "MR":
            continue
        kind = _kind(tags)
        # Neither names nor dates: only what the scanner calls the series.
        label = tags.get(_DESCRIPTION) or tags.get(_PROTOCOL) or "no description"
        found.append(Candidate(path, kind, f"{path.relative_to(folder)} '{label}', {len(members)} files"))
    return found


def _kind(tags: Mapping[str, str]) -> str:
    """Return the sequence of a series: by what the scanner calls it, and by its timing where that says nothing."""
    texts = [tags.get(_DESCRIPTION, ""), tags.get(_PROTOCOL, "")]
    if any(no_sequence(text) for text in [*texts, tags.get(_TYPE, "")]):
        return ""
    agent = tags.get(_AGENT, "").strip().lower() not in ("", "none", "no", "n", "0")
    for text in texts:
        if kind := kind_of_text(text):
            return "t1ce" if kind == "t1" and agent else kind
    timing = [_number(tags.get(tag, "")) for tag in (_REPETITION, _ECHO, _INVERSION)]
    kind = kind_of_timing(*timing)
    return "t1ce" if kind == "t1" and agent else kind


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _tags(path: Path) -> dict[str, str]:
    from anyadbench.predict.dicom import read_tags

    wanted = (_SERIES, _MODALITY, _DESCRIPTION, _PROTOCOL, _REPETITION, _ECHO, _INVERSION, _AGENT, _TYPE)
    return read_tags(path, wanted)
