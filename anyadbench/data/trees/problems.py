"""Problems with the files of a data set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from anyadbench.errors import UserError


@dataclass(frozen=True, order=True)
class Problem:
    """One problem with a tree.

    Attributes:
        file: Path below the source folder.
        cause: What is wrong, as the predicate of a sentence about the file.
        fix: What to do, in the imperative.
        severity: ``error`` if it excludes the scan, ``warning`` otherwise.
        scan: Scan that it belongs to; empty if none.
    """

    file: str
    cause: str
    fix: str
    severity: str = "error"
    scan: str = ""

    @property
    def sentence(self) -> str:
        """The problem as one sentence."""
        return f"{self.file} {self.cause}; {self.fix}."

    def as_json(self) -> dict[str, str]:
        """Return the fields as plain values."""
        return asdict(self)


class BadFile(UserError):
    """A file that cannot be used; shown as one sentence, or collected as a ``Problem``."""

    def __init__(self, file: str | Path, cause: str, fix: str) -> None:
        super().__init__(f"{file} {cause}; {fix}.")
        self.file, self.cause, self.fix = str(file), cause, fix


def labelled_though_healthy(file: str, subject: str, scan: str, voxels: int) -> Problem:
    """Return the problem of a segmentation with labels that belongs to a healthy subject."""
    cause = f"holds {voxels} labelled voxel{'s' if voxels != 1 else ''}, but {subject} counts as healthy"
    return Problem(file, cause, "leave the scan out, or remove the segmentation if its labels are no lesion", scan=scan)


def errors(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems that exclude a scan."""
    return [problem for problem in problems if problem.severity == "error"]
