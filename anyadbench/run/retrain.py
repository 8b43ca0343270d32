"""One model per set of sequences: the fits behind ``--missing retrain``.

Every set gets a fit of its own, whose method knows these sequences alone and is trained on the training normals that
have all of them. Splits, slices and seeds are those of the protocol, so rows differ by the sequences only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from anyadbench.hashing import stable_hash
from anyadbench.methods.base import Batch, Context, Method, Scores
from anyadbench.run.fit import Fitting
from anyadbench.sequences import Subset, format_subset

if TYPE_CHECKING:
    from anyadbench.run.cells import WorkFolder
    from anyadbench.run.sources import ProtocolData


class Retrained(Method):
    """Hands every batch to the model of the sequences that it shows."""

    def __init__(self, context: Context, models: Mapping[Subset, Method]) -> None:
        super().__init__(context)
        self.models = models

    def score(self, batch: Batch) -> Scores:
        """Return what the model of the shown sequences says; all slices of the batch show the same ones."""
        shown = batch.shown[0]
        if not bool((batch.shown == shown).all()):
            raise ValueError("slices of one batch show different sequences; score them one set at a time")
        places = shown.nonzero()[:, 0]
        names = tuple(self.context.sequences[place] for place in places.tolist())
        return self.models[names].score(Batch(batch.inputs[:, places], batch.shown[:, places]))


@dataclass(frozen=True)
class Retraining:
    """The fits of one cell.

    Attributes:
        fitting: What they are made of, but for the sequences.
    """

    fitting: Fitting
    fits: dict[Subset, Fitting] = field(default_factory=dict)

    def ensure(self) -> dict[str, Any]:
        """Train what is not there yet; return one record for all: times and steps added up, most slices."""
        for subset in needed_sets(self.fitting.data):
            job = self.fitting.job
            own = replace(job, fit_id=stable_hash([job.fit_id, format_subset(subset)]))
            self.fits[subset] = replace(self.fitting, job=own, subset=subset)
        records = [fitting.ensure() for fitting in self.fits.values()]
        summed = {name: sum(record[name] for record in records) for name in ("seconds", "steps")}
        return {**records[0], **summed, "train_slices": max(record["train_slices"] for record in records)}

    def load(self) -> Method:
        """Return the trained models as one method, in eval mode."""
        models = {subset: fitting.load() for subset, fitting in self.fits.items()}
        context = replace(next(iter(models.values())).context, sequences=self.fitting.data.protocol.sequences)
        return Retrained(context, models).eval()

    def folders(self) -> dict[str, WorkFolder]:
        """Return the folder of each fit by the label of its sequences."""
        return {format_subset(subset): fitting.job.fit for subset, fitting in self.fits.items()}


def needed_sets(data: ProtocolData) -> list[Subset]:
    """Return the protocol's subsets and, if scans are scored as available, every set that one of them has."""
    protocol = data.protocol
    found = dict.fromkeys(protocol.subsets)
    if protocol.as_available:
        readers = [(data.reader(protocol.train), data.validation_rows())]
        for test in protocol.tests:
            reader = data.reader(test.dataset, test.feed)
            readers += [(reader, rows) for rows in data.test_rows(test)]
        for reader, rows in readers:
            for has in set(map(tuple, reader.present(rows).tolist())):
                found[tuple(name for name, there in zip(protocol.sequences, has, strict=True) if there)] = None
    return sorted(found, key=lambda subset: (len(subset), [protocol.sequences.index(name) for name in subset]))
