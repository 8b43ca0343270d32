"""Which sequences and subsets the training normals have: a method knows nothing of a sequence that none of them has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyadbench.results.schema import TrainingCoverage
from anyadbench.sequences import format_subset

if TYPE_CHECKING:
    from anyadbench.engine.protocol_data import ProtocolData


def training_coverage(data: ProtocolData) -> TrainingCoverage:
    """Count a protocol's training normals by sequence and by subset.

    A slice counts for every sequence that its scan has, and for every subset of which it has all sequences. How often a
    method is shown a subset depends on its training mask.
    """
    protocol = data.protocol
    indices = data.train_indices()
    present = data.reader(protocol.train).present(indices)
    places = {name: place for place, name in enumerate(protocol.sequences)}
    sequences = {name: int(present[:, place].sum()) for name, place in places.items()}
    subsets = {
        format_subset(subset): int(present[:, [places[name] for name in subset]].all(axis=1).sum())
        for subset in protocol.subsets
    }
    return TrainingCoverage(slices=len(indices), sequences=sequences, subsets=subsets)
