"""Benchmark suite for any-modality anomaly detection in multi-sequence brain MRI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyadbench.version import __version__

if TYPE_CHECKING:
    from os import PathLike

    from anyadbench.predict import Predictor

__all__ = ["__version__", "load"]


def load(cell: str | PathLike[str], *, device: str = "auto", weights: str | None = None) -> Predictor:
    """Return a predictor for new patients from a finished cell.

    Args:
        cell: Folder of the cell, e.g. ``runs/cells/anyad_phantom-7subsets_s0_0123456789abcdef``.
        device: ``auto``, ``cpu`` or ``cuda``.
        weights: ``file:PATH`` with the present location of the pretrained weights that the cell started from, or of a
            whole published checkpoint of the cell's method, which then replaces the trained model.

    Raises:
        anyadbench.errors.UserError: If something that prediction needs is missing; the sentence names it.
    """
    from anyadbench.predict import load as load_cell  # torch and numpy are imported here, not with the package

    return load_cell(cell, device=device, weights=weights)
