"""When a predicted cluster counts as a lesion that was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from anyadbench.errors import UserError

SMALLEST_ML = 0.003
"""Clusters below 3 mm^3 are specks and no candidates; a lesion of any size counts."""


@dataclass(frozen=True)
class OverlapRule:
    """One lesion, one cluster: the default.

    Lesions and clusters are 26-connected components. A pair is possible if its intersection over union is at least
    ``overlap``. Each lesion gets at most one cluster and each cluster at most one lesion. A lesion with a cluster is
    found, one without is missed, and a cluster without a lesion is a false alarm.

    Source: ``picai_eval`` 1.4 (Saha et al., Lancet Oncology 2024) for the overlap of .1 and for ``most``; ``panoptica``
    (Kofler et al., 2023) for ``greedy``.

    Args:
        overlap: Smallest intersection over union, above 0 and at most 1.
        assignment: ``most`` makes as many pairs as possible, and of such assignments takes one with the largest sum of
            overlaps. ``greedy`` goes through the possible pairs from the largest overlap down and takes each whose two
            sides are free; the whole scan can then be scored at one threshold only.
        spare_overlapping: Whether a cluster without a lesion is no false alarm if it could have been paired, as in
            ``picai_eval``'s default. Without it, the second cluster on a lesion is a false alarm, as in ``panoptica``.
        smallest_ml: Smaller clusters are left out before pairs are made.
    """

    overlap: float = 0.10
    assignment: Literal["most", "greedy"] = "most"
    spare_overlapping: bool = False
    smallest_ml: float = SMALLEST_ML

    def __post_init__(self) -> None:
        if not 0 < self.overlap <= 1:
            raise UserError(f"The overlap {self.overlap} is out of range; give a number above 0 and at most 1.")
        if self.assignment not in ("most", "greedy"):
            raise UserError(f"The assignment {self.assignment!r} is unknown; give 'most' or 'greedy'.")
        _check_smallest(self.smallest_ml)

    @property
    def sentence(self) -> str:
        """The rule as a sentence for a board."""
        spared = "; further clusters that overlap a lesion as much are not counted" if self.spare_overlapping else ""
        how = "as many pairs as possible, then the largest overlap" if self.assignment == "most" else "greedily"
        return (
            f"A lesion is found if a cluster of at least {self.smallest_ml:g} ml overlaps it by {self.overlap:g} or "
            f"more (intersection over union), one cluster for one lesion ({how}); all other clusters are false "
            f"alarms{spared}. Components are 26-connected."
        )


@dataclass(frozen=True)
class DilationRule:
    """Lesions are dilated before matching, as in BraTS 2023.

    The truth is dilated ``dilation`` times by a voxel's 18 neighbours. Lesions whose dilated regions are connected (26)
    are one lesion, with the volume of their undilated voxels. A lesion is found if any cluster has a voxel in its
    dilated region; a cluster may find several lesions, and several clusters one. A cluster that touches no dilated
    region is a false alarm. Lesions of at most ``dropped_mm3`` are neither found nor missed, and clusters that touch
    them are no false alarms.

    Source: BraTS 2023 lesion-wise metrics (rachitsaluja/BraTS-2023-Metrics): 3 dilations and 50 mm^3 for gliomas, 1 and
    2 mm^3 for metastases.

    Args:
        dilation: Number of dilations, at least 0.
        dropped_mm3: Largest volume that is left out.
        smallest_ml: Smaller clusters are left out; BraTS keeps all, hence 0.
    """

    dilation: int = 3
    dropped_mm3: float = 50.0
    smallest_ml: float = 0.0

    def __post_init__(self) -> None:
        if self.dilation < 0 or int(self.dilation) != self.dilation:
            raise UserError(f"The dilation {self.dilation} is no number of voxels; give 0, 1, 2, ...")
        if not self.dropped_mm3 >= 0:
            raise UserError(f"The volume {self.dropped_mm3} mm3 of dropped lesions is negative; give 0 or more.")
        _check_smallest(self.smallest_ml)

    @property
    def sentence(self) -> str:
        """The rule as a sentence for a board."""
        return (
            f"Lesions are dilated by {self.dilation} voxels and joined where they then touch; one is found if a "
            f"cluster of at least {self.smallest_ml:g} ml touches it, lesions of at most {self.dropped_mm3:g} mm3 are "
            "left out, and clusters that touch none are false alarms (BraTS 2023). Components are 26-connected."
        )


Rule = OverlapRule | DilationRule


def _check_smallest(smallest_ml: float) -> None:
    if not 0 <= smallest_ml < float("inf"):
        raise UserError(f"The smallest cluster of {smallest_ml} ml is out of range; give 0 or more millilitres.")
