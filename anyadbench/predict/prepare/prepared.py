"""What preparation did to a patient's scans."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.predict.geometry import Grid, grid_of, resample, same_grid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float, Shaped

    from anyadbench.data.trees.volume import Volume
    from anyadbench.predict.inputs import Input
    from anyadbench.predict.prepare.plan import Plan


@dataclass(frozen=True)
class Step:
    """One step of preparation.

    Attributes:
        name: ``find brain``, ``check``, ``register``, ``check left and right``, ``strip`` or ``bias``.
        sequence: The scan that it worked on.
        text: What was done, as a sentence.
        seconds: Wall time; steps of several scans may overlap.
        figures: What was measured.
        warning: What the reader should distrust, as a sentence; empty if nothing.
    """

    name: str
    sequence: str
    text: str
    seconds: float = 0.0
    figures: Mapping[str, float] = field(default_factory=dict)
    warning: str = ""


@dataclass(frozen=True, eq=False)
class OwnGrid:
    """An input's own voxels, and where they lie in the reference's world.

    Attributes:
        volume: The input as it was read.
        grid: Its grid after registration.
        header: Its NIfTI header, or ``None``.
    """

    volume: Volume
    grid: Grid
    header: Any

    def bring(self, array: Shaped[np.ndarray, "x y z"], source: Grid, *, whole: bool) -> np.ndarray:
        """Return an array of the reference's grid on the input's own voxels and axes.

        Args:
            array: Map or mask in LPS order.
            source: Its grid.
            whole: Whether it is a mask, of which at least half a voxel must be inside.
        """
        found = array
        if not same_grid(source, self.grid):
            found = resample(array, source, self.grid, keep_background=False)
        if whole:
            found = found >= 0.5
        return np.ascontiguousarray(self.volume.to_native(found))


@dataclass(frozen=True, eq=False)
class Prepared:
    """A patient's scans, ready for a method.

    Attributes:
        inputs: Scans whose affines lead into the reference's world, 0 outside the brain where they were stripped.
        transforms: For every sequence the rigid move from its world to the reference's (mm, RAS+).
        own: Every input's own grid.
        steps: What was done and measured, in order.
        plan: What was asked for.
        seconds: Wall time of all steps.
    """

    inputs: list[Input]
    transforms: Mapping[str, Float[np.ndarray, "4 4"]]
    own: Mapping[str, OwnGrid]
    steps: tuple[Step, ...]
    plan: Plan
    seconds: float = 0.0

    @property
    def warnings(self) -> list[str]:
        """What the reader should distrust, one sentence each."""
        return [step.warning for step in self.steps if step.warning]


def unchanged(inputs: list[Input], plan: Plan, steps: tuple[Step, ...] = ()) -> Prepared:
    """Return scans as they are."""
    own = {item.sequence: OwnGrid(item.volume, grid_of(item.volume), item.header) for item in inputs}
    return Prepared(inputs, {item.sequence: np.eye(4) for item in inputs}, own, steps, plan)
