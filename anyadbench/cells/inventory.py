"""The cells of a runs folder with state, age and size, and the folders that can be removed.

Nothing in the folder is trusted (see ``anyadbench.results.read``): links are not followed, and only folders directly
below ``cells`` and ``fits`` are ever removed.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from anyadbench.cells.work_folder import PARTIAL, PROGRESS, WorkFolder
from anyadbench.errors import UserError
from anyadbench.files import explain_os_error, read_json
from anyadbench.hashing import stable_hash
from anyadbench.progress import about, pace_of
from anyadbench.results.read import CellRecord, inside, read_cells
from anyadbench.results.read import read_json as read_cell_json
from anyadbench.sequences import SEQUENCES, all_subsets, format_subset


@dataclass(frozen=True)
class CellProgress:
    """How far a running cell is in its present phase.

    Attributes:
        phase: What it does, such as ``training``.
        done: Finished steps, slices or rows.
        total: All of them; 0 if unknown.
        seconds_left: Estimate for the phase; ``None`` while there is none.
    """

    phase: str
    done: int
    total: int
    seconds_left: float | None

    @property
    def percent(self) -> float | None:
        """Finished part of the phase in per cent; ``None`` if the total is unknown."""
        return round(100 * self.done / self.total, 1) if self.total else None

    @property
    def text(self) -> str:
        """One line."""
        count = f" {self.done}/{self.total} ({self.percent:.0f} %)" if self.percent is not None else ""
        left = about(self.seconds_left)
        return f"{self.phase}{count}{', ' if left else ''}{left}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        left = None if self.seconds_left is None else round(self.seconds_left)
        return {
            "phase": self.phase, "done": self.done, "total": self.total, "percent": self.percent, "seconds_left": left,
        }  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One cell.

    Attributes:
        name: Name of its folder without ``.partial``: its id on the command line.
        record: Content of its files.
        state: Its state now: a cell whose process is gone is ``interrupted``, whatever it last wrote.
        age: Seconds since it ended, or last wrote its state; ``None`` if unknown.
        size: Bytes on disk.
        progress: How far a running cell is, as its process last wrote it.
    """

    name: str
    record: CellRecord
    state: str
    age: float | None
    size: int
    progress: CellProgress | None = None

    @property
    def folder(self) -> WorkFolder:
        """The cell's folder."""
        return WorkFolder(self.record.folder.with_name(self.name), "cell.json")

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as plain values."""
        record = self.record
        return {
            "id": self.name, "state": self.state, "method": record.method, "protocol": record.protocol,
            "seed": record.seed, "age_seconds": None if self.age is None else round(self.age), "bytes": self.size,
            "error": record.error or record.problem, "folder": str(record.folder),
            "progress": None if self.progress is None else self.progress.to_dict(),
        }  # fmt: skip


def list_cells(runs: Path) -> list[Entry]:
    """Return every cell of a runs folder, by name.

    Raises:
        UserError: If it is not a runs folder.
    """
    entries: dict[str, Entry] = {}
    for record in read_cells(runs):
        name = record.folder.name.removesuffix(PARTIAL)
        if name in entries and record.folder.name.endswith(PARTIAL):
            continue  # left by a process that planned the cell while another finished it
        folder = WorkFolder(record.folder.with_name(name), "cell.json")
        state = record.state
        if state == "running" and not folder.held:
            state = "interrupted"
        progress = _progress(record.folder) if state == "running" else None
        entries[name] = Entry(name, record, state, _age(record), sizes([record.folder])[0], progress)
    return [entries[name] for name in sorted(entries)]


def _progress(folder: Path) -> CellProgress | None:
    """Return the progress that the cell's process, of this machine or another one, keeps in its folder."""
    if inside(folder, PROGRESS) is None:
        return None
    try:
        record = read_cell_json(folder, PROGRESS)
    except UserError:  # it has just ended
        return None
    pace = pace_of(record) if isinstance(record, dict) else None
    if pace is None:
        return None
    phase = str(record.get("phase"))[:100]
    return CellProgress(phase, pace.done, max(0, pace.total), pace.left(time.time()))


def find_cell(runs: Path, wanted: str) -> Entry:
    """Return the one cell whose name or id begins with ``wanted``.

    Raises:
        UserError: If there is none, or more than one.
    """
    found = [
        entry
        for entry in list_cells(runs)
        if wanted and (entry.name.startswith(wanted) or entry.name.rpartition("_")[2].startswith(wanted))
    ]
    exact = [entry for entry in found if entry.name == wanted]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if not found:
        raise UserError(f"{runs} holds no cell {wanted!r}; 'anyadbench runs --runs {runs}' lists them.")
    names = ", ".join(entry.name for entry in found[:5])
    raise UserError(f"{wanted!r} matches {len(found)} cells of {runs} ({names}); give more of the name.")


@dataclass(frozen=True)
class Removal:
    """A folder that can be removed, and why."""

    folder: WorkFolder
    path: Path
    reason: str


def removable(runs: Path, ids: Sequence[str] = (), *, unfinished: bool = False) -> list[Removal]:
    """Return what pruning would remove.

    Args:
        runs: Folder of runs.
        ids: Cells to remove, finished or not; if empty: failed cells, fits that no cell uses, and leftovers.
        unfinished: Whether to include interrupted and pending cells, with their checkpoints.

    Raises:
        UserError: If an id matches no cell, or a running one.
    """
    if ids:
        chosen = [find_cell(runs, name) for name in ids]
        for entry in chosen:
            if entry.folder.held:
                raise UserError(f"Cell {entry.name} is running; stop it first.")
        return [Removal(entry.folder, entry.record.folder, "requested") for entry in chosen]
    entries = list_cells(runs)
    states = {"failed", "unreadable"} | ({"interrupted", "pending"} if unfinished else set())
    gone = [entry for entry in entries if entry.state in states and not entry.folder.held]
    removals = [Removal(entry.folder, entry.record.folder, entry.state) for entry in gone]
    for entry in entries:
        if entry.folder.done and entry.folder.work.is_dir() and not entry.folder.held:
            removals.append(Removal(entry.folder, entry.folder.work, "leftover"))
    removed = {entry.name for entry in gone}
    used = {fit for entry in entries if entry.name not in removed for fit in _fits_of(entry)}
    return removals + [Removal(*fit, "used by no cell") for fit in _unused_fits(runs, used)]


def _fits_of(entry: Entry) -> list[str]:
    try:
        fit = read_json(entry.record.folder / "cell.json").get("fit_id")
    except UserError:
        return []
    if not isinstance(fit, str):
        return []
    # With one model per subset, each has its own fit (see anyadbench.cells.per_subset). An unfinished cell does not
    # record which ones it has, so all possible ones are kept.
    return [fit[:16], *(stable_hash([fit, format_subset(subset)])[:16] for subset in all_subsets(SEQUENCES))]


def _unused_fits(runs: Path, used: set[str]) -> Iterable[tuple[WorkFolder, Path]]:
    fits = runs / "fits"
    for path in sorted(fits.iterdir()) if fits.is_dir() else ():
        name = path.name.removesuffix(PARTIAL)
        if name.startswith(".") or path.is_symlink() or not path.is_dir():
            continue
        folder = WorkFolder(fits / name, "fit.json")
        if name.rpartition("-")[2] not in used and not folder.held:
            yield folder, path


def remove(removals: Sequence[Removal]) -> None:
    """Remove folders with their lock files; skip any that a process has locked in the meantime.

    Raises:
        UserError: If one cannot be removed.
    """
    for removal in removals:
        with removal.folder.lock(wait=False) as had:
            if not had:
                continue
            try:
                if removal.path.is_symlink():
                    removal.path.unlink()
                else:
                    shutil.rmtree(removal.path)
                removal.folder.lock_file.unlink(missing_ok=True)
            except OSError as error:
                raise explain_os_error(error, removal.path) from None


def sizes(folders: Sequence[Path]) -> tuple[int, int]:
    """Return the bytes that folders take on disk, and how many of them removing all the folders would free.

    Links are not followed. A file with several hard links counts once, and is freed only with the last of them.
    """
    seen: dict[tuple[int, int], tuple[int, int, int]] = {}
    for folder in folders:
        for root, _, files in os.walk(folder):
            for name in files:
                try:
                    found = os.lstat(os.path.join(root, name))
                except OSError:
                    continue
                key = found.st_dev, found.st_ino
                times = seen.get(key, (0, 0, 0))[2] + 1
                seen[key] = found.st_blocks * 512, found.st_nlink, times
    total = sum(size for size, _, _ in seen.values())
    return total, sum(size for size, links, times in seen.values() if times >= links)


def _age(record: CellRecord) -> float | None:
    try:
        if record.finished:
            return max(0.0, time.time() - datetime.fromisoformat(record.finished).timestamp())
        return max(0.0, time.time() - (record.folder / "cell.json").stat().st_mtime)
    except (OSError, ValueError, OverflowError):
        return None


def human_size(size: float) -> str:
    """Return a size in bytes with a decimal unit."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def human_age(seconds: float | None) -> str:
    """Return an age in its largest whole unit."""
    if seconds is None:
        return "?"
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
