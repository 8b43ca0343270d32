"""The memory and disk that cells need, from the plan alone, and whether this machine has enough."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.cells.inventory import human_size
from anyadbench.engine.settings import EXACT_PIXELS, KEPT_SLICES, KEPT_SUBJECTS, SCORING_BATCH, batch_size
from anyadbench.errors import UserError

if TYPE_CHECKING:
    from anyadbench.cells.job import Job
    from anyadbench.engine.protocol_data import ProtocolData

BASE = 700e6
"""Bytes of a worker with its libraries, before it reads a slice (host_mb of a pixelstats cell, torch 2.15)."""

FINISHING = 8
"""Bytes for each pixel of a row while its exact numbers are computed: its scores merged in order, and room to do so."""

LESION = 96
"""Bytes of a lesion pixel in a row: score and component twice, for field and brain, as scored and as ranked."""

HISTOGRAM = 0.6e6
"""Bytes of one subject's pixel histograms in one row, for scores that span eleven octaves: it holds occupied ones."""

STORED = 0.225e6
"""Bytes of one subject's pixel statistics in one row on disk, for the same scores."""

POOLED = 11.5e6
"""Bytes of a row's own pixel histograms, for the same scores."""

RECORD = 800
"""Bytes of one slice's entry in one row's table: a rough figure."""


@dataclass(frozen=True)
class Needs:
    """What one cell needs, in bytes, without its network.

    Attributes:
        memory: Host memory.
        disk: Disk, mostly for kept maps.
        training: Training slices.
        test: Test slices.
    """

    memory: float
    disk: float
    training: int
    test: int

    @property
    def sentence(self) -> str:
        """The estimate as a sentence."""
        return (
            f"each cell reads {self.training} training and {self.test} test slices and needs about "
            f"{human_size(self.memory)} of memory without its network, and {human_size(self.disk)} of disk"
        )


def estimate(job: Job, data: ProtocolData) -> Needs:
    """Return what a cell needs.

    The terms that grow with the number of slices are those of `rows_memory` and the kept maps; everything else depends
    on the batch size.
    """
    protocol = data.protocol
    memory, disk, tested = BASE, 2e6, 0
    batch = max(batch_size(job.params), SCORING_BATCH)
    for test in protocol.tests:
        store, rows = data.stores[test.dataset], len(protocol.rows(test))
        normals, abnormals = data.test_indices(test)
        slices = len(normals) + len(abnormals)
        height, width = (wanted or own for wanted, own in zip(protocol.scoring_grid, store.shape, strict=True))
        area = height * width
        subjects = store.slices["subject"].to_numpy()
        distinct = len(set(subjects[normals].tolist()) | set(subjects[abnormals].tolist()))
        kept = {"none": 0, "sample": min(slices, KEPT_SUBJECTS * KEPT_SLICES), "all": slices}[job.keep_maps]
        maps = kept * area * (4 * rows + len(protocol.sequences) + 1)
        lesions = int(store.slices["lesion_px"].to_numpy()[abnormals].sum()) * area // int(np.prod(store.shape))
        memory += rows_memory(slices, area, lesions, distinct, rows)
        memory += 2 * maps  # once as collected, once as written
        memory += batch * store.shape[0] * store.shape[1] * len(protocol.sequences) * 4 * 4
        disk += maps + rows * (distinct * STORED + slices * 120)
        tested += slices
    return Needs(memory, disk, len(data.train_indices()), tested)


def rows_memory(slices: int, area: int, lesions: int, subjects: int, rows: int) -> float:
    """Return the bytes that the rows of a test set take at most, while they are finished one by one.

    Args:
        slices: Slices of a row.
        area: Pixels of a slice.
        lesions: Lesion pixels of a row.
        subjects: Subjects of a row.
        rows: Number of rows.
    """
    table = rows * slices * RECORD
    if slices * area * rows > EXACT_PIXELS:
        return table + rows * (POOLED + subjects * HISTOGRAM) + 2 * POOLED  # the last for the row being finished
    return table + rows * (4 * slices * area + lesions * LESION) + FINISHING * slices * area


def check_fits(jobs: Sequence[Job], largest: Needs, slots: int) -> None:
    """Check that this machine has enough memory and disk for the jobs.

    Args:
        jobs: The jobs; finished ones need nothing.
        largest: Needs of the largest one.
        slots: Cells at once.

    Raises:
        UserError: If memory or disk is too small.
    """
    todo = [job for job in jobs if not job.cell.done]
    if not todo:
        return
    at_once = min(slots, len(todo))
    there = total_memory()
    advice = "give --keep-maps sample" if any(job.keep_maps == "all" for job in jobs) else "use a smaller test set"
    if largest.memory * at_once > there:
        fewer = f"--slots {max(1, int(there // largest.memory))}" if largest.memory <= there else advice
        raise UserError(
            f"{at_once} cell(s) at once need about {human_size(largest.memory * at_once)} of memory, but this machine "
            f"has {human_size(there)}; {fewer}."
        )
    free = free_disk(Path(jobs[0].runs))
    if largest.disk * len(todo) > free:
        raise UserError(
            f"{len(todo)} cells need about {human_size(largest.disk * len(todo))} of disk in {jobs[0].runs}, but only "
            f"{human_size(free)} are free; free some, give --runs on another disk, or --keep-maps none."
        )


def total_memory() -> float:
    """Return the bytes of memory that processes may use: the machine's memory, or the limit of their control group."""
    import os

    found = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found.append(float(Path(limit).read_text()))
        except (OSError, ValueError):  # no control group, or "max"
            continue
    return min(found)


def free_disk(folder: Path) -> float:
    """Return the free bytes of the disk that a folder is, or will be, on."""
    while not folder.exists():
        folder = folder.parent
    return float(shutil.disk_usage(folder).free)
