"""One Ray task per cell. Every node must see the folder of runs and the data under the same paths."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
from collections.abc import Sequence

import ray

from anyadbench.api import (
    LIFELINE,
    Job,
    LaunchOptions,
    Outcome,
    UserError,
    cell_command,
    known_settings,
    recorded_outcome,
)

POLL = 2.0
"""Seconds between two polls of the tasks."""

LOST = 20
"""How often the task of a lost node is moved to another one."""

SETTINGS = ("address",)


def launch(jobs: Sequence[Job], options: LaunchOptions) -> list[Outcome]:
    """Run every job as a task of one GPU, or of as many CPUs as the cell has threads.

    Ray itself moves tasks of a lost node to another one, where they resume from the last checkpoint. After the first
    Ctrl-C, running cells write a checkpoint and the others are dropped.

    Raises:
        UserError: If no cluster answers.
    """
    settings = known_settings(options, "ray", SETTINGS)
    _connect(settings.get("address", "auto"))
    try:
        tasks = {_submit(job): job for job in jobs}
        options.display.note(f"submitted {len(tasks)} cells to Ray")
        cancelled = _wait(list(tasks), options)
        return [recorded_outcome(job, "" if task in cancelled else _said(task)) for task, job in tasks.items()]
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (OSError, OverflowError, ValueError, RuntimeError) as error:  # a port above 65535 overflows
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"No Ray cluster answers at {address!r} ({said}); start one with 'ray start --head', or give "
            "--launcher-option address=HOST:PORT."
        ) from None


def _knock(address: str) -> None:
    """Raise at once if nothing listens: Ray itself would retry for minutes."""
    host, separator, port = address.rpartition(":")
    if separator and port.isdigit():
        with socket.create_connection((host.strip("[]"), int(port)), timeout=10):
            pass


def _run_cell(command: list[str]) -> str:
    """Run a cell's command on a node; return the end of its output if it failed.

    The command ends with this process, which holds the other end of its lifeline: Ray kills its own workers alone.
    """
    reading, held = os.pipe()
    try:
        try:
            process = subprocess.Popen(
                [*command, LIFELINE, str(reading)],
                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, pass_fds=(reading,),
            )  # fmt: skip
        finally:
            os.close(reading)
        try:
            said = process.communicate()[1]
        except KeyboardInterrupt:  # how Ray cancels a task
            process.terminate()
            said = process.communicate()[1]
        return said[-4000:] if process.returncode else ""
    finally:
        os.close(held)


def _submit(job: Job) -> ray.ObjectRef:
    gpu = job.policy["device"] == "cuda"
    task = ray.remote(_run_cell).options(
        name=job.cell.final.name,
        num_gpus=1 if gpu else 0,
        num_cpus=int(job.policy["threads"]),
        max_retries=LOST,
    )
    return task.remote([*cell_command(job), "--quiet"])


def _wait(tasks: list[ray.ObjectRef], options: LaunchOptions) -> set[ray.ObjectRef]:
    """Wait for all tasks; return those that Ctrl-C cancelled."""
    left, cancelled = tasks, set[ray.ObjectRef]()
    while left:
        try:
            left = ray.wait(left, num_returns=len(left), timeout=POLL)[1]
            options.display.progress(len(tasks) - len(left), len(tasks), "cells")
        except KeyboardInterrupt:
            if cancelled:
                raise
            cancelled = set(left)
            options.display.note("stopping: writing checkpoints (Ctrl-C again: leave them)")
            for task in left:
                ray.cancel(task)
    return cancelled


def _said(task: ray.ObjectRef) -> str:
    """Return a task's output, or Ray's own message if the task did not finish."""
    try:
        return str(ray.get(task))
    except (ray.exceptions.RayError, KeyboardInterrupt) as error:
        return " ".join(str(error).split())[:1000]
