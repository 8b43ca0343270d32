"""What a user chooses for a prediction: threshold, smallest cluster, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyadbench.errors import UserError
from anyadbench.predict.findings.calibration import Calibration, read_calibration
from anyadbench.predict.findings.clusters import SMALLEST_ML, check_smallest
from anyadbench.predict.findings.compare import Basis
from anyadbench.predict.inputs import check_threshold
from anyadbench.predict.prediction import GIVEN
from anyadbench.sequences import format_subset

if TYPE_CHECKING:
    from os import PathLike

    from anyadbench.predict.cell import TrainedCell
    from anyadbench.predict.prediction import Prediction

OLD_CELL = (
    "No mask, percentiles or reference range: the cell was run before thresholds were taken inside the brain; run it "
    "again, or set thresholds with 'anyadbench calibrate'."
)


@dataclass(frozen=True, eq=False)
class Settings:
    """The choices, checked.

    Attributes:
        threshold: Pixel threshold in units of the map; ``None`` for the calibration's or the cell's own.
        smallest_ml: Clusters with a smaller volume are removed from the mask.
        calibration: A site's own normals.
    """

    threshold: float | None = None
    smallest_ml: float = SMALLEST_ML
    calibration: Calibration | None = None

    @property
    def hashed(self) -> list[Any]:
        """Everything that changes a patient's files."""
        return [self.threshold, self.smallest_ml, None if self.calibration is None else self.calibration.sha256]

    def limit(self, cell: TrainedCell, shown: tuple[str, ...], own: bool) -> tuple[float | None, str]:
        """Return the pixel threshold of a subset and where it comes from, or why there is none.

        Args:
            cell: The cell.
            shown: The subset.
            own: Whether the cell's own thresholds apply.
        """
        label = format_subset(shown)
        if self.threshold is not None:
            return self.threshold, GIVEN
        if self.calibration is not None and (site := self.calibration.normals.subsets.get(label)):
            return site.threshold, f"99th percentile of the brain pixels of {self.calibration.source} shown {label}"
        if own and cell.normals is None:
            return None, OLD_CELL
        found = cell.threshold(shown) if own else None
        if found is None:
            return None, (
                f"No mask: the cell has no threshold (99th percentile of validation normals) for {label}; "
                "give one with --threshold."
            )
        return found, f"99th percentile of the brain pixels of validation normals shown {label}"

    def basis(self, cell: TrainedCell, own: bool) -> Basis | None:
        """Return what patients are compared with: the site's normals, and the cell's where the site has none."""
        found = dict(cell.normals.subsets) if own and cell.normals is not None else {}
        sources = dict.fromkeys(found, f"the cell's {cell.normals.described}" if cell.normals is not None else "")
        if self.calibration is not None:
            found |= self.calibration.normals.subsets
            sources |= dict.fromkeys(self.calibration.normals.subsets, self.calibration.source)
        return Basis(found, sources) if found else None

    def alarm(self, prediction: Prediction) -> dict[str, Any] | None:
        """Return whether the calibration raises an alarm.

        ``None`` without a calibration, enough normals or a patient score.
        """
        if self.calibration is None or prediction.patient_score is None:
            return None
        return self.calibration.alarm(format_subset(prediction.shown), prediction.patient_score)


def check_numbers(threshold: Any, smallest_ml: Any) -> tuple[float | None, float]:
    """Return a threshold, if one is given, and the smallest cluster.

    Raises:
        UserError: If one is out of range.
    """
    limit = None if threshold is None else check_threshold(threshold)
    return limit, SMALLEST_ML if smallest_ml is None else check_smallest(smallest_ml)


def read_settings(
    cell: TrainedCell,
    threshold: Any = None,
    smallest_ml: Any = None,
    calibration: str | PathLike[str] | Calibration | None = None,
    own: bool = True,
) -> Settings:
    """Check a user's choices.

    Args:
        cell: The cell.
        threshold: As given.
        smallest_ml: As given.
        calibration: Its folder, or what was read from it.
        own: Whether the method has the cell's own trained state.

    Raises:
        UserError: If a number is out of range, or the calibration is damaged or belongs to another cell or network.
    """
    limit, smallest = check_numbers(threshold, smallest_ml)
    if calibration is not None and not isinstance(calibration, Calibration):
        calibration = read_calibration(Path(calibration))
    if calibration is not None:
        calibration.check_cell(cell)
        if not own:
            raise UserError(
                f"--calibration {calibration.folder} describes what the cell learnt, which --weights replaces by "
                "another network; leave one of the two options out."
            )
    return Settings(limit, smallest, calibration)
