"""Maps from fewer of a patient's sequences, to switch between them in a report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import nibabel

from anyadbench.errors import UserError
from anyadbench.sequences import Subset, all_subsets, format_subset, parse_subset

if TYPE_CHECKING:
    from anyadbench.data.trees.volume import Volume
    from anyadbench.predict.prediction import Prediction
    from anyadbench.predict.predictor import Predictor

ALL = "all"
"""Every subset of the sequences shown."""


def parse_subsets(text: str) -> tuple[Subset, ...] | None:
    """Return the subsets of a list such as ``F,F+T1``; ``None`` for all.

    Raises:
        UserError: If a subset is empty or names an unknown sequence.
    """
    if text.strip().lower() == ALL:
        return None
    try:
        return tuple(dict.fromkeys(parse_subset(part.strip()) for part in text.split(",")))
    except UserError as error:
        raise UserError(f"--subsets {text}: {error}") from None


@dataclass(eq=False)
class OtherSubsets:
    """Predictions from other subsets of a patient's sequences, made one at a time: a report keeps little of each.

    Attributes:
        predictor: What predicts.
        prediction: The prediction from all sequences.
        subsets: The other subsets, each without a sequence that is not shown.
        options: Further arguments of ``Predictor.predict``.
        found: The numbers of each that was made, for ``prediction.json``.
    """

    predictor: Predictor
    prediction: Prediction
    subsets: tuple[Subset, ...]
    options: dict[str, Any]
    found: list[dict[str, Any]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.subsets)

    def __iter__(self) -> Iterator[Prediction]:
        volumes = self.prediction.volumes
        for subset in self.subsets:
            # In the order given: the first has the grid of the map, which is the report's where it is in the subset.
            images = {name: _image(volume) for name, volume in volumes.items() if name in subset}
            made = self.predictor.predict(images, **self.options)
            self.found.append(_brief(made))
            yield made


def with_subsets(
    prediction: Prediction, predictor: Predictor, text: str | None, **options: Any
) -> tuple[Prediction, OtherSubsets]:
    """Return a prediction with a note on each wanted subset that the patient lacks, and those to be predicted.

    Args:
        prediction: The prediction from all sequences.
        predictor: What predicted it.
        text: The subsets, as in ``parse_subsets``; ``None`` for none.
        options: Further arguments of ``Predictor.predict``.
    """
    shown = prediction.shown
    wanted = () if text is None else parse_subsets(text) or all_subsets(shown)[-2::-1]
    notes = tuple(
        f"There is no map from {format_subset(subset)}: {format_subset(shown)} was shown."
        for subset in wanted
        if not set(subset) <= set(shown)
    )
    chosen = tuple(subset for subset in wanted if set(subset) < set(shown))
    return replace(prediction, notes=prediction.notes + notes), OtherSubsets(predictor, prediction, chosen, options)


def _brief(prediction: Prediction) -> dict[str, Any]:
    return {
        "subset": format_subset(prediction.shown),
        "patient_score": prediction.patient_score,
        "threshold": prediction.threshold,
        "volume_above_threshold_ml": prediction.volume_ml,
        "clusters": None if prediction.mask is None else len(prediction.clusters),
    }


def _image(volume: Volume) -> Any:
    # Not a NIfTI image, which refuses some types of number.
    return nibabel.spatialimages.SpatialImage(volume.array, volume.affine)
