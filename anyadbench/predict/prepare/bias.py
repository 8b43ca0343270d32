"""N4 bias-field correction (Tustison et al., IEEE TMI 29, 2010), as an option."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anyadbench.predict.geometry import grid_of, resample
from anyadbench.predict.prepare.register import load_itk
from anyadbench.predict.prepare.views import even_grid, to_itk

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32

    from anyadbench.data.trees.volume import Volume

STEP_MM = 4.0
"""Voxel size at which the field is fitted: it varies over centimetres."""

ROUNDS = (50, 50, 30)
"""Iterations of each level of B-splines."""


def bias_field(volume: Volume, brain: Bool[np.ndarray, "x y z"], threads: int = 1) -> Float32[np.ndarray, "x y z"]:
    """Return the field by which a scan is too bright, with mean 1 in the brain; divide the scan by it.

    Args:
        volume: The scan.
        brain: Where the field is fitted, on the scan's grid.
        threads: CPU threads.

    Raises:
        UserError: If SimpleITK is not installed.
    """
    itk = load_itk("Bias-field correction")
    own = grid_of(volume)
    coarse = even_grid(own, STEP_MM)
    values = resample(volume.array, own, coarse, keep_background=False)
    inside = (resample(brain, own, coarse, keep_background=False) >= 0.5) & (values > 0)
    method = itk.N4BiasFieldCorrectionImageFilter()
    method.SetNumberOfThreads(threads)
    method.SetMaximumNumberOfIterations(list(ROUNDS))
    image = to_itk(itk, values, coarse)
    method.Execute(image, to_itk(itk, inside.astype(np.uint8), coarse))
    field = np.exp(itk.GetArrayFromImage(method.GetLogBiasFieldAsImage(image)).transpose(2, 1, 0))
    field /= field[inside].mean()
    fine = resample(field, coarse, own, keep_background=False)
    return np.where(fine > 0.1, fine, np.float32(1)).astype(np.float32)
