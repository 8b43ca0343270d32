"""Which file or series of a folder is which sequence: from DICOM tags or file names, asked where it is not plain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from anyadbench.data.trees.nifti_file import partner
from anyadbench.data.trees.survey import walk
from anyadbench.errors import UserError
from anyadbench.names import is_junk
from anyadbench.predict.inputs import is_dicom
from anyadbench.predict.prepare.kinds import kinds_of_text, no_sequence
from anyadbench.predict.prepare.series_kinds import Candidate, series_candidates, told
from anyadbench.predict.write import prediction_files
from anyadbench.sequences import SEQUENCES, SHORT

Ask = Callable[[str, list[str]], int]
"""Shows a question with its choices and returns the number of one, from 1; 0 is none."""

_NIFTI, _PAIR = (".nii", ".nii.gz"), (".hdr", ".hdr.gz")


def recognise(
    folder: Path,
    given: Mapping[str, Path] | None = None,
    ask: Ask | None = None,
    wanted: Sequence[str] = SEQUENCES,
    said: Callable[[str], None] = lambda text: None,
) -> dict[str, Path]:
    """Return the path of each sequence in a folder.

    Args:
        folder: One patient's scans: NIfTI files, or DICOM files in any subfolders; links are followed.
        given: Sequences that the user named; they are not searched for.
        ask: Lets the user choose between several candidates; without it, they are listed in the error.
        wanted: Sequences that are searched for.
        said: Called with a sentence for the files that were left out because they cannot be read.

    Raises:
        UserError: If the folder cannot be read, nothing is recognised, the DICOM is of another modality, or several
            candidates remain and nobody can be asked.
        OSError: If the system refuses a folder below it.
    """
    if not folder.is_dir():
        raise UserError(f"--scan {folder}: there is no such folder; give the folder with one patient's scans.")
    found = dict(given or {})
    candidates = [one for one in _candidates(folder) if not any(one.holds(path) for path in found.values())]
    for sequence in SEQUENCES:
        fitting = [one for one in candidates if one.kinds == (sequence,)]
        if sequence in found or sequence not in wanted or not fitting:
            continue
        if len(fitting) == 1:
            found[sequence] = fitting[0].path
        elif chosen := _choose(folder, sequence, fitting, ask):
            found[sequence] = chosen.path
    for one in candidates:
        if len(one.kinds) > 1:
            _settle(folder, one, found, wanted, ask)
    if not found:
        seen = "; ".join(one.text for one in candidates[:8]) or "no NIfTI file and no DICOM series"
        options = [f"--{name}" for name in SEQUENCES]
        raise UserError(
            f"--scan {folder}: no sequence was recognised in it ({seen}); name the files with "
            f"{', '.join(options[:-1])} or {options[-1]}."
        )
    for one in candidates:
        if one.broken:
            said(f"--scan {folder}: {one.text}, so it is left out; copy it again if it belongs to a sequence.")
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


def _settle(folder: Path, one: Candidate, found: dict[str, Path], wanted: Sequence[str], ask: Ask | None) -> None:
    """Let the user say what an unclear candidate is, unless all that it may be was found."""
    open_ = [name for name in one.kinds if name in wanted and name not in found]
    if not open_:
        return
    if ask is None:
        may_be = " or ".join(SHORT[name] for name in one.kinds)
        options = " or ".join(f"--{name}" for name in open_)
        raise UserError(f"--scan {folder}: {one.text} may be {may_be}; name it with {options} {one.path}.")
    number = ask(f"{one.text} in {folder} may be several sequences; it is:", [SHORT[name] for name in open_])
    if number:
        found[open_[number - 1]] = one.path


def _candidates(folder: Path) -> list[Candidate]:
    files = list(_files(folder))
    named = [path for path in files if path.name.lower().endswith(_NIFTI) or _heads_pair(path)]
    found = [
        Candidate(path, kinds_of_text(path.name), told(path.relative_to(folder)), (path,))
        for path in named
        if not no_sequence(path.name)
    ]
    dicom = [path for path in files if not path.name.lower().endswith(_NIFTI) and is_dicom(path)]
    return found + series_candidates(folder, dicom)


def _heads_pair(path: Path) -> bool:
    return path.name.lower().endswith(_PAIR) and partner(path) is not None


def _files(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> NoReturn:
        raise error  # a folder that cannot be listed may hold any sequence

    written: dict[Path, set[Path]] = {}
    for path in walk(folder, refuse):
        if path.is_file() and not is_junk(path.name):
            if path.parent not in written:
                written[path.parent] = prediction_files(path.parent)
            if path not in written[path.parent]:
                yield path
