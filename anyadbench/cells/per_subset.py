"""One model per subset of sequences: the fits behind ``--missing retrain``.

Every subset has its own fit, whose method is built for these sequences alone and trained on the training normals that
have all of them. Splits, slices and seeds are those of the protocol, so rows differ by the sequences only.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from anyadbench.cells.fitting import Fitting
from anyadbench.engine.compiling import combined
from anyadbench.engine.per_subset import PerSubset, needed_sets
from anyadbench.hashing import stable_hash
from anyadbench.methods.contract import Method
from anyadbench.sequences import Subset, format_subset

if TYPE_CHECKING:
    from anyadbench.cells.work_folder import WorkFolder


@dataclass(frozen=True)
class PerSubsetFits:
    """The fits of one cell.

    Attributes:
        fitting: Their shared inputs, without a subset.
    """

    fitting: Fitting
    fits: dict[Subset, Fitting] = field(default_factory=dict)

    def ensure(self) -> dict[str, Any]:
        """Train the missing fits; return one record for all: sums, and of the rest what counts most."""
        for subset in needed_sets(self.fitting.data):
            job = self.fitting.job
            own = replace(job, fit_id=stable_hash([job.fit_id, format_subset(subset)]))
            self.fits[subset] = replace(self.fitting, job=own, subset=subset)
        records = [fitting.ensure() for fitting in self.fits.values()]
        added = ("seconds", "steps", "parameters", "seen_slices")
        summed = {name: sum(record.get(name, 0) for record in records) for name in added}
        environments = [one for record in records for one in record.get("environments", [])]
        most = max(record["train_slices"] for record in records)
        compiled = combined(record.get("compile") for record in records)
        return {**records[0], **summed, "train_slices": most, "environments": environments, "compile": compiled}

    def load(self) -> Method:
        """Return the trained models as one method, in eval mode."""
        models = {subset: fitting.load() for subset, fitting in self.fits.items()}
        context = replace(next(iter(models.values())).context, sequences=self.fitting.data.protocol.sequences)
        return PerSubset(context, models).eval()

    def folders(self) -> dict[str, WorkFolder]:
        """Return the folder of each fit by the label of its sequences."""
        return {format_subset(subset): fitting.job.fit for subset, fitting in self.fits.items()}
