"""One model per subset of sequences, scored as one method: the numbers of ``--missing retrain``."""

from __future__ import annotations

from collections.abc import Mapping

from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.methods.contract import Batch, Context, Method, Scores
from anyadbench.sequences import Subset


class PerSubset(Method):
    """Passes every batch to the model of the sequences that it shows."""

    def __init__(self, context: Context, models: Mapping[Subset, Method]) -> None:
        super().__init__(context)
        self.models = models

    def score(self, batch: Batch) -> Scores:
        """Return the scores of the model of the shown sequences; all slices of the batch must show the same ones."""
        shown = batch.shown[0]
        if not bool((batch.shown == shown).all()):
            raise ValueError("slices of one batch show different sequences; score them one subset at a time")
        places = shown.nonzero()[:, 0]
        names = tuple(self.context.sequences[place] for place in places.tolist())
        return self.models[names].score(Batch(batch.inputs[:, places], batch.shown[:, places]))


def needed_sets(data: ProtocolData) -> list[Subset]:
    """Return the protocol's subsets and, if scans are scored as available, every subset that some scan has."""
    protocol = data.protocol
    found = dict.fromkeys(protocol.subsets)
    if protocol.as_available:
        readers = [(data.reader(protocol.train), data.validation_indices())]
        for test in protocol.tests:
            reader = data.reader(test.dataset, test.feed)
            readers += [(reader, indices) for indices in data.test_indices(test)]
        for reader, indices in readers:
            for has in set(map(tuple, reader.present(indices).tolist())):
                found[tuple(name for name, there in zip(protocol.sequences, has, strict=True) if there)] = None
    return sorted(found, key=lambda subset: (len(subset), [protocol.sequences.index(name) for name in subset]))
