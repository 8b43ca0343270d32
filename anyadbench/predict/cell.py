"""A finished cell as prediction needs it: the content of its folder, and one sentence for each missing part."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from anyadbench.cells.job import PLAN, Job
from anyadbench.cells.work_folder import PARTIAL
from anyadbench.data.slices.harmonise import Standard
from anyadbench.data.slices.rules import HISTOGRAM
from anyadbench.errors import UserError
from anyadbench.files import read_json
from anyadbench.protocols.model import Protocol
from anyadbench.protocols.reader import read_protocol
from anyadbench.results import CellResult
from anyadbench.sequences import format_subset

if TYPE_CHECKING:
    from anyadbench.results import Row

WEIGHTS = "weights.safetensors"

_NEEDED = {
    PLAN: "the method's parameters",
    "protocol.toml": "the protocol's sequences and intensity scale",
    "result.json": "the thresholds from validation normals",
    "manifest.json": "the identity of the pretrained weights",
    WEIGHTS: "the trained state of the method",
}


@dataclass(frozen=True)
class TrainedCell:
    """A finished cell.

    Attributes:
        folder: Its folder.
        job: Method, parameters, seed and numeric policy.
        protocol: Its protocol.
        result: Its checked result.
        manifest: Its provenance.
        weights: File with the trained state.
        grid: Height and width in pixels of the training slices.
        spacing: Their pixel size in mm, along height and width.
        standard: The standard scale of intensities, where the protocol matches histograms.
    """

    folder: Path
    job: Job
    protocol: Protocol
    result: CellResult
    manifest: dict[str, Any]
    weights: Path
    grid: tuple[int, int]
    spacing: tuple[float, float]
    standard: Standard = field(default_factory=dict)

    def threshold(self, shown: tuple[str, ...]) -> float | None:
        """Return the pixel threshold of a subset: the 99th percentile of the scores of validation normals.

        It does not depend on the test set. ``None`` if the protocol does not evaluate the subset, or no validation
        normal could serve it.
        """
        found = (row.threshold for row in self.result.rows if row.subset == format_subset(shown))
        return next((threshold.value for threshold in found if threshold is not None), None)

    @property
    def rows(self) -> list[Row]:
        """Rows scored on at least one slice."""
        return [row for row in self.result.rows if row.n_slices]


def read_cell(folder: str | Path) -> TrainedCell:
    """Read a finished cell's folder, without importing a method or torch.

    Args:
        folder: The folder, or its name without the final hash if that identifies one cell.

    Raises:
        UserError: If it is not a finished cell, or a file that prediction needs is missing or damaged.
    """
    path = _whole_name(Path(os.path.expanduser(folder)))
    _check_folder(path)
    weights = _trained_state(path)
    for name, meaning in _NEEDED.items():
        if name != WEIGHTS and not (path / name).is_file():
            raise UserError(f"The cell {path} lacks {name} ({meaning}); copy the whole folder of the cell again.")
    try:
        result = CellResult.model_validate_json((path / "result.json").read_text(encoding="utf-8"))
        job = Job.load(path, renamed=True)
    except (ValidationError, ValueError, TypeError, OSError) as error:
        cause = str(error).splitlines()[0]
        raise UserError(
            f"The cell {path} has a damaged {PLAN} or result.json ({cause}); copy the whole folder again."
        ) from None
    manifest = read_json(path / "manifest.json")
    grid, spacing = _slices(path, job, manifest, protocol := read_protocol(path / "protocol.toml"))
    return TrainedCell(
        path, job, protocol, result, manifest, weights, grid, spacing, _standard(path, protocol, manifest)
    )


def _standard(path: Path, protocol: Protocol, manifest: dict[str, Any]) -> Standard:
    """Return the standard scale of a cell.

    Raises:
        UserError: If the protocol matches histograms and the manifest has no scale.
    """
    if protocol.intensity.harmonise != HISTOGRAM:
        return {}
    known = manifest.get("input")
    found = known.get("standard_scale") if isinstance(known, dict) else None
    if not isinstance(found, dict):
        raise UserError(
            f"The cell {path} matches histograms, but its manifest.json has no standard scale (input.standard_scale); "
            "copy the whole folder of the cell again."
        )
    return {str(name): tuple(float(height) for height in heights) for name, heights in found.items()}


def _whole_name(path: Path) -> Path:
    """Complete a name such as ``anyad_phantom-7subsets_s0`` with the hash of the only finished cell of that name."""
    if path.exists() or not path.parent.is_dir():
        return path
    found = sorted(
        other
        for other in path.parent.glob(f"{escape(path.name)}_*")
        if "_" not in other.name.removeprefix(f"{path.name}_") and (other / "cell.json").is_file()
    )
    finished = [other for other in found if not other.name.endswith(PARTIAL)]
    if len(finished) > 1:
        names = ", ".join(other.name for other in finished)
        raise UserError(f"--cell {path} is ambiguous ({names}); give the full name.")
    return finished[0] if finished else path


def _check_folder(path: Path) -> None:
    if not path.is_dir():
        raise UserError(f"--cell {path}: there is no such folder; give the folder of a finished cell (runs/cells/...).")
    if path.name.endswith(PARTIAL):
        raise UserError(f"--cell {path} is not finished; run the same 'anyadbench run' again, which resumes it.")
    if not (path / "cell.json").is_file():
        below = sorted(found.parent for found in path.glob("**/cell.json") if not found.parent.name.endswith(PARTIAL))
        hint = f"; give one of its cells, e.g. {below[0]}" if below else "; give a folder below runs/cells"
        raise UserError(f"--cell {path} is not a cell: it has no cell.json{hint}.")


def _trained_state(path: Path) -> Path:
    """Return the cell's own file with the trained state, or that of its fit next to it."""
    if (path / WEIGHTS).is_file():
        return path / WEIGHTS
    if any(path.glob("weights-*.safetensors")):
        raise UserError(
            f"The cell {path} has one model for each set of sequences (--missing retrain), which cannot be applied "
            "as one; give a cell of a run without it."
        )
    manifest = read_json(path / "manifest.json") if (path / "manifest.json").is_file() else {}
    made = manifest.get("fit", {})
    fit = str(made.get("folders", {}).get("all") or made.get("folder", ""))
    beside = path.parent.parent / "fits" / Path(fit).name / WEIGHTS
    if fit and beside.is_file():
        return beside
    raise UserError(
        f"The cell {path} lacks {WEIGHTS} ({_NEEDED[WEIGHTS]}), and its fit {beside.parent} has none either; "
        "copy it from the folder in which the cell was run, or run the cell again."
    )


def _slices(
    path: Path, job: Job, manifest: dict[str, Any], protocol: Protocol
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Return grid and spacing of the training slices: from the record, or from the store where the cell was run."""
    recorded = manifest.get("input")
    if isinstance(recorded, dict):
        height, width = recorded["grid"]
        y, x = recorded["spacing_mm"]
        return (int(height), int(width)), (float(y), float(x))
    from anyadbench.data.store.store import is_store, open_store

    place = Path(job.stores.get(protocol.train, ""))
    if not is_store(place):
        raise UserError(
            f"The cell {path} was run before cells recorded the size of their slices, and the slice store {place} "
            "that has it is missing; run the cell again."
        )
    store = open_store(place)
    return store.shape, store.spacing
