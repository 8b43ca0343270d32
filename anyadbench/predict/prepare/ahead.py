"""Preparing the next patients of a batch on the other cores while the network scores one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from anyadbench.errors import UserError
from anyadbench.launch.resources import total_memory
from anyadbench.predict.inputs import read_inputs
from anyadbench.predict.prepare.pipeline import prepare_inputs
from anyadbench.processes import end_pool_process, without_current_folder

if TYPE_CHECKING:
    from anyadbench.predict.batch import Patient
    from anyadbench.predict.predictor import Predictor
    from anyadbench.predict.prepare.plan import Plan
    from anyadbench.predict.prepare.prepared import Prepared

NEEDS_GB = 3.0
"""Memory of one patient in preparation."""


class Ahead:
    """Prepared patients in the order in which they are asked for, a few of them made ahead.

    Args:
        predictor: Gives device and threads.
        patients: Those that may be asked for, in order.
        plan: Steps of preparation.
        workers: Processes; by default one per core that the machine's memory allows, and none for one patient, a plan
            without steps, or a GPU, which patients would share.
        wanted: Whether a patient will be asked for; one who was predicted before will not.
    """

    def __init__(
        self,
        predictor: Predictor,
        patients: Sequence[Patient],
        plan: Plan,
        workers: int | None = None,
        wanted: Callable[[Patient], bool] = lambda patient: True,
    ) -> None:
        self.plan = plan
        self._wanted = wanted
        self._predictor = predictor
        self._left = [patient for patient in patients if not patient.problem]
        self._made: dict[str, Future[Any]] = {}
        if workers is None:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            workers = min(cores, int(total_memory() / 1e9 // NEEDS_GB), len(self._left))
        alone = plan.idle or predictor.policy.device != "cpu" or workers < 2
        self._workers = 0 if alone else workers
        self._pool: ProcessPoolExecutor | None = None

    def get(self, patient: Patient, said: Callable[[str], None]) -> Prepared:
        """Return a patient's prepared scans.

        Raises:
            UserError: If they cannot be prepared.
            OSError: If the system refuses a file.
        """
        if not self._workers:
            return self._predictor.prepare(patient.scans, self.plan, said=said)
        place = next((n for n, other in enumerate(self._left) if other.name == patient.name), len(self._left))
        self._left = self._left[place + 1 :]
        others = self._next()
        for name in self._made.keys() - {patient.name, *(other.name for other in others)}:
            self._made.pop(name).cancel()  # nobody asked for it: its patient failed before
        said("preparing")
        try:
            for other in [patient, *others]:
                self._start(other)
            found = self._made.pop(patient.name).result()
        except BrokenProcessPool:  # one of the patients in preparation ended a process, which ends them all
            found = self._again(patient)
        if isinstance(found, str):
            raise UserError(found)
        if isinstance(found, OSError):
            raise found
        prepared: Prepared = found
        return prepared

    def _next(self) -> list[Patient]:
        """Return the patients that are made ahead, and forget those before them who will not be asked for."""
        found: list[Patient] = []
        while len(found) < min(self._workers - 1, len(self._left)):
            other = self._left[len(found)]
            if other.name in self._made or self._wanted(other):
                found.append(other)
            else:
                self._left.remove(other)
        return found

    def _again(self, patient: Patient) -> Any:
        """Prepare a patient alone in new processes; those made ahead are started again when they are asked for.

        Raises:
            UserError: If that ends the process, too.
        """
        self._forget()
        self._start(patient)
        try:
            return self._made.pop(patient.name).result()
        except BrokenProcessPool:
            self._forget()
            raise UserError(
                f"The process that prepared {patient.name} was ended by the system, probably for want of memory; free "
                "some and run the same command again."
            ) from None

    def _forget(self) -> None:
        self.close()
        self._pool, self._made = None, {}

    def _start(self, patient: Patient) -> None:
        if patient.name in self._made:
            return
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self._workers, get_context("spawn"), initializer=end_pool_process)
        device, threads = self._predictor.policy.device, self._predictor.policy.threads
        with without_current_folder():
            self._made[patient.name] = self._pool.submit(_prepare, patient.scans, self.plan, device, threads)

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _prepare(scans: Mapping[str, Any], plan: Plan, device: str, threads: int) -> Prepared | str | OSError:
    """Return prepared scans, or what went wrong: not every exception survives the way between processes."""
    import torch

    torch.set_num_threads(threads)
    try:
        return prepare_inputs(read_inputs(scans, None), plan, device=device, threads=threads)
    except UserError as error:
        return str(error)
    except OSError as error:
        return error
