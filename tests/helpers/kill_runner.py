"""Run one cell in forked processes, each of which kills itself at a given moment, until the cell is finished.

``python kill_runner.py PROTOCOL DATA RUNS METHOD MOMENTS [MORE]`` with moments as JSON: ``[["training", 3], …]`` in the
order in which a run reaches them; with MORE, a last process is not killed. Forking from a process that has loaded torch
avoids importing it for every moment. Prints how each process ended.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PHASES = ("preparation", "assembly", "statistics", "training", "checkpoint", "seal", "weights", "scoring", "results")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(owner: Any, name: str, number: int, *, after: bool = False) -> None:
    """Kill the process at the ``number``-th call (from 0) of a function, before or after it runs."""
    plain: Callable[..., Any] = getattr(owner, name)
    numbers = itertools.count()  # Several threads may call the function: each call takes its own number.

    def dying(*arguments: Any, **options: Any) -> Any:
        called = next(numbers)
        if called == number and not after:
            die()
        value = plain(*arguments, **options)
        if called == number:
            die()
        return value

    setattr(owner, name, dying)


def at_step(number: int) -> None:
    """Kill the process before a training step."""
    from anyadbench.engine.trainer import Trainer

    plain = Trainer._train_step

    def step(self: Trainer) -> None:
        if self.step == number:
            die()
        plain(self)

    Trainer._train_step = step  # type: ignore[method-assign]


def in_the_middle_of_write(number: int) -> None:
    """Kill the process after half of a piece of a checkpoint is written."""
    from anyadbench.engine.checkpoints import _HashingWriter

    write = _HashingWriter.write
    calls = 0

    def half(self: Any, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls > number:
            write(self, bytes(data)[: len(data) // 2])
            self.flush()
            die()
        return write(self, data)

    _HashingWriter.write = half  # type: ignore[method-assign]


def arm(phase: str, number: int) -> None:
    from anyadbench.cells import fitting as fit
    from anyadbench.cells import scored_cell as cell
    from anyadbench.cells.work_folder import WorkFolder
    from anyadbench.data.store import build as prepare
    from anyadbench.engine import checkpoints
    from anyadbench.engine.scoring import Evaluator

    if phase == "preparation":
        at_call(prepare, "extract", number % 8, after=bool(number % 2))
    elif phase == "assembly":
        at_call(prepare, "assemble", 0, after=bool(number % 2))
    elif phase == "statistics":
        at_call(fit.Fitting, "_tick", number % 4)
    elif phase == "training":
        at_step(number)
    elif phase == "checkpoint":
        in_the_middle_of_write(number)
    elif phase == "seal":  # between writing the checkpoint, its hash, and its name
        at_call(checkpoints, "write_text", 0, after=bool(number % 2))
    elif phase == "weights":
        at_call(*((fit, "save_weights") if number % 3 else (WorkFolder, "complete")), 0, after=bool(number % 2))
    elif phase == "scoring":
        at_call(Evaluator, "_score_slices", number % 2, after=number % 4 > 1)
    elif phase == "results":
        names = ("write_slices", "save_arrays", "write_json", "write_text", "_write_manifest", "link_or_copy")
        at_call(cell, names[number % len(names)], 0, after=number % 12 >= 6)


def attempt(protocol: str, data: str, runs: str, method: str, moment: tuple[str, int] | None) -> int:
    """Plan and run the cell in a forked process; return its exit code, negative for a signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        if moment is not None:
            arm(*moment)
        from anyadbench.launch import worker
        from anyadbench.launch.plan import Request, make_plan
        from anyadbench.protocols.reader import read_protocol

        request = Request((method,), read_protocol(Path(protocol)), Path(runs), data=(data,), checkpoint_seconds=0.0)
        (job,) = make_plan(request, lambda done, total, label: None).jobs
        (job.save() / "protocol.toml").write_text(Path(protocol).read_text())
        code = worker.main([str(job.cell.work)])
    finally:
        os._exit(code)


def main(protocol: str, data: str, runs: str, method: str, moments: str, more: str = "") -> None:
    # Slow imports happen once, before forking.
    for module in ("nibabel", "pandas", "torch._dynamo", "anyadbench.cells.scored_cell", "anyadbench.launch.plan"):
        importlib.import_module(module)

    codes = [attempt(protocol, data, runs, method, (phase, number)) for phase, number in json.loads(moments)]
    if more:
        codes.append(attempt(protocol, data, runs, method, None))
    print(json.dumps(codes))


if __name__ == "__main__":
    main(*sys.argv[1:])
