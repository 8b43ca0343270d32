"""What a launcher receives and returns."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from anyadbench.cells.work_folder import WorkFolder, cell_folder, fit_folder, now
from anyadbench.engine.numerics import Policy
from anyadbench.engine.settings import Training
from anyadbench.errors import UserError
from anyadbench.files import read_json, write_json
from anyadbench.hashing import stable_hash
from anyadbench.methods.descriptor import RETRAIN, Budget
from anyadbench.sequences import SEQUENCES, all_subsets, format_subset

Status = Literal["done", "cached", "failed", "interrupted", "planned"]
PLAN = "plan.json"
CHECKPOINT_SECONDS = 60.0
RETRIES = 2


@dataclass(frozen=True)
class Job:
    """One cell to run, as plain values, so that any process can run it from ``plan.json``.

    Attributes:
        runs: Folder of all fits and cells.
        cell_id: Hash of everything that its numbers depend on.
        fit_id: Hash of everything that its trained model depends on.
        method: Name of the method.
        protocol: Name of the protocol.
        protocol_file: File that the protocol was read from, copied into the cell.
        seed: Run seed.
        params: Resolved parameters.
        budget: Budget that they come from.
        missing: Policy for missing sequences.
        weights: ``--weights`` as given, or the protocol's profile.
        stores: Path of the slice store by data set.
        policy: Numeric policy.
        keep_maps: ``none``, ``sample`` or ``all``.
        time_limit: Seconds after which the cell is ended as failed; 0 for none.
        checkpoint_seconds: Seconds between checkpoints.
        retries: How often a worker that was killed from outside is restarted.
        graph: Whether training steps on a GPU run as a CUDA graph.

    The last five change how a cell runs but not its numbers, so they are not part of its id.
    """

    runs: str
    cell_id: str
    fit_id: str
    method: str
    protocol: str
    protocol_file: str
    seed: int
    params: dict[str, bool | int | float | str]
    budget: Budget
    missing: str
    weights: str
    stores: dict[str, str]
    policy: dict[str, Any] = field(default_factory=dict)
    keep_maps: str = "sample"
    time_limit: float = 0.0
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    retries: int = RETRIES
    graph: bool = True

    @property
    def cell(self) -> WorkFolder:
        """Folder of the cell."""
        return cell_folder(Path(self.runs), self.cell_id, self.method, self.protocol, self.seed)

    @property
    def fit(self) -> WorkFolder:
        """Folder of the fit."""
        return fit_folder(Path(self.runs), self.fit_id, self.method)

    @property
    def numerics(self) -> Policy:
        """The numeric policy."""
        return Policy(**self.policy)

    @property
    def training(self) -> Training:
        """How its model is trained."""
        return Training(self.params, self.budget, self.missing, self.seed, self.numerics)

    @property
    def label(self) -> str:
        """Method, protocol and seed, for display."""
        return f"{self.method} · {self.protocol} · seed {self.seed}"

    @property
    def saved(self) -> str:
        """What an interrupted run keeps of it, in words."""
        if self.cell.done:
            return "the finished cell"
        if self.missing == RETRAIN:
            fits = [
                replace(self, fit_id=stable_hash([self.fit_id, format_subset(subset)])).fit
                for subset in all_subsets(SEQUENCES)
            ]
            done, steps = sum(fit.done for fit in fits), [step for fit in fits for step in _checkpoints(fit)]
            trained = f"{done} trained model{'' if done == 1 else 's'}" if done else ""
        else:
            steps, trained = _checkpoints(self.fit), "the trained model" if self.fit.done else ""
        checkpoint = f"a checkpoint at step {max(steps)}" if steps else ""
        return " and ".join(part for part in (trained, checkpoint) if part) or "nothing yet"

    def save(self) -> Path:
        """Write the job, now pending, into its cell's working folder and return the folder.

        The caller must hold the cell's lock, since a process that runs the cell writes there too.
        """
        work = self.cell.work
        names = {name: getattr(self, name) for name in ("cell_id", "fit_id", "method", "protocol", "seed")}
        fresh: dict[str, Any] = {"state": "pending", "error": None, "log_tail": [], "mistake": False}
        self.cell.update(**{"created": now(), **self.cell.state(), **names, **fresh})
        write_json(work / PLAN, asdict(self))
        return work

    @staticmethod
    def load(folder: Path, *, renamed: bool = False) -> Job:
        """Read the job of a cell folder, complete or not.

        The folder may come from another machine: the job is checked, and uses the runs folder that it was found in.

        Args:
            folder: The cell.
            renamed: Whether the folder may have any name, for a copy that is only read.

        Raises:
            UserError: If its plan is damaged, or belongs to another cell.
        """
        from pydantic import TypeAdapter, ValidationError

        try:
            found = TypeAdapter(Job).validate_python(read_json(folder / PLAN))
            job = replace(found, runs=str(folder.absolute().parent.parent))
            job.numerics  # noqa: B018  (its fields are checked here)
        except (ValidationError, TypeError):
            raise UserError(f"{folder / PLAN} is not the plan of a cell; remove {folder} and run again.") from None
        if not renamed and folder.name not in (job.cell.work.name, job.cell.final.name):
            raise UserError(f"{folder / PLAN} is the plan of another cell; remove {folder} and run again.")
        return job


def _checkpoints(fit: WorkFolder) -> list[int]:
    return [int(path.stem.partition("-")[2]) for path in (fit.work / "checkpoints").glob("step-*.pt")]


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Attributes:
        job: The cell.
        status: ``cached`` if it was finished before.
        error: One sentence if it did not end well.
        log_tail: Last lines of its log.
        mistake: Whether the user can fix it (the command's exit code is then 2).
    """

    job: Job
    status: Status
    error: str = ""
    log_tail: tuple[str, ...] = ()
    mistake: bool = False
