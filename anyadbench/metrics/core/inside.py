"""The pixel metrics within the brain: pixels outside are left out before anything is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anyadbench.metrics.core.arrays import as_maps, as_masks, to_numpy
from anyadbench.metrics.core.components import components
from anyadbench.metrics.core.curves import INSIDE

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int32

    from anyadbench.metrics.core.curves import Curve


def brain_pixels(
    maps: Any, masks: Any, brains: Any
) -> tuple[Float32[np.ndarray, "1 1 m"], Bool[np.ndarray, "1 1 m"], Int32[np.ndarray, "1 1 m"]]:
    """Return scores, lesion pixels and lesion components of the pixels inside the brain, laid out in one line.

    They are what ``update`` of `anyadbench.metrics.PixelStats` and `anyadbench.metrics.PixelState` takes as maps, masks
    and components, so both count only the brain. Components are those of the lesion pixels inside the brain, and their
    areas are counted there.

    Args:
        maps: N x H x W scores; those outside the brain may be anything.
        masks: N x H x W lesion masks.
        brains: N x H x W brain masks.

    Raises:
        UserError: If shapes do not fit.
        ScoreError: If a score inside a brain is NaN or infinite.
    """
    given = to_numpy(maps)
    inside = as_masks(brains, given.shape)
    scores = as_maps(np.where(inside, given, 0))
    lesion = as_masks(masks, given.shape) & inside
    labels = components(lesion)
    line = (1, 1, int(np.count_nonzero(inside)))
    return scores[inside].reshape(line), lesion[inside].reshape(line), labels[inside].reshape(line)


def brain_values(curve: Curve) -> dict[str, float]:
    """Return the metrics of `anyadbench.metrics.names.BRAIN`; NaN where undefined.

    Args:
        curve: Of a state that was fed with `brain_pixels`.
    """
    return INSIDE.values(curve)
