"""Progress on standard error: bars with time estimates on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from anyadbench.progress import Pace, about

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from anyadbench.cells.job import Job

PLAIN_INTERVAL = 15.0
"""Seconds between plain lines of one phase."""

CELLS = "cells"
"""The phase of a command that runs several cells."""


@dataclass
class Grid:
    """The time left of several cells that run side by side.

    Attributes:
        waiting: Labels of the cells that have not begun; a label begins with the method's name.
        slots: Cells at once.
        begun: Start of each running cell, by label.
        took: Seconds of the finished cells, by label.
    """

    waiting: list[str]
    slots: int
    begun: dict[str, float] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)

    def begin(self, label: str, now: float) -> None:
        """Note that a cell has begun."""
        if label in self.waiting:
            self.waiting.remove(label)
        self.begun[label] = now

    def end(self, label: str, now: float, *, finished: bool = True) -> None:
        """Note that a cell has ended; one that did not finish says nothing about how long the others take."""
        if label in self.waiting:
            self.waiting.remove(label)
        began = self.begun.pop(label, None)
        if began is not None and finished:
            self.took[label] = now - began

    def left(self, now: float, phases: Mapping[str, float | None]) -> float | None:
        """Return the seconds left; ``None`` until the first cell has finished.

        A cell is expected to take as long as the finished ones of its method or, without any, of all methods.

        Args:
            now: The time.
            phases: Seconds left of the present phase of running cells, which they take at least.
        """
        if not self.took:
            return None
        running = [
            max(self._expected(label) - (now - begun), phases.get(label) or 0.0, 0.0)
            for label, begun in list(self.begun.items())
        ]
        work = sum(running) + sum(map(self._expected, self.waiting))
        at_once = max(1, min(self.slots, len(running) + len(self.waiting)))
        return max([work / at_once, *running])

    def _expected(self, label: str) -> float:
        alike = [took for other, took in self.took.items() if other.split(" ")[0] == label.split(" ")[0]]
        known = alike or list(self.took.values())
        return sum(known) / len(known)


class Display:
    """Shows phases of work with done, total and a time estimate; writes to standard error only.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._phases: dict[str, tuple[str, Pace]] = {}
        self._shown: dict[str, float] = {}
        self._grid: Grid | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Display:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                ProgressColumn,
                Task,
                TextColumn,
                TimeElapsedColumn,
            )
            from rich.text import Text

            class _LeftColumn(ProgressColumn):
                def render(column, task: Task) -> Text:
                    return Text(about(self._left(task.fields["owner"])))

            self._progress = Progress(
                TextColumn("[bold]{task.fields[owner]}"),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("elapsed"),
                TimeElapsedColumn(),
                _LeftColumn(),
                console=Console(stderr=True),
            )
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def progress(self, done: int, total: int, label: str) -> None:
        """Show progress of the command itself."""
        self._show("", label, done, total)

    def event(self, job: Job, event: dict[str, Any]) -> None:
        """Show an event of a worker."""
        given = event.get("losses")
        losses = given if isinstance(given, dict) else {}  # a method may write to the pipe, too
        said = ", ".join(f"{name} {value:.4g}" for name, value in losses.items() if isinstance(value, int | float))
        phase = str(event.get("phase", ""))
        self._show(job.label, phase, int(event.get("done", 0)), int(event.get("total", 0)), said)

    def watch_cells(self, labels: Sequence[str], slots: int) -> None:
        """Estimate the time that these cells take together, ``slots`` at once; their ends come by ``cell_ended``."""
        self._grid = Grid(list(labels), slots) if len(labels) > 1 else None

    def cell_began(self, job: Job) -> None:
        """Note that a cell has begun."""
        if self._grid is not None:
            self._grid.begin(job.label, time.monotonic())

    def cell_ended(self, job: Job, done: int, total: int, *, finished: bool = True) -> None:
        """Note that a cell has ended, finished or not, and show how many of all have."""
        if self._grid is not None:
            self._grid.end(job.label, time.monotonic(), finished=finished)
        if total > 1:
            self.progress(done, total, CELLS)

    def note(self, text: str) -> None:
        """Print a message once."""
        if self._quiet:
            return
        if self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _show(self, owner: str, label: str, done: int, total: int, said: str = "") -> None:
        now = time.monotonic()
        with self._lock:
            known = self._phases.get(owner)
            begins = known is None or known[0] != label
            # Less than before is the next of several models.
            again = known is None or begins or done < known[1].done
            pace = Pace(done, now, done, total, now) if known is None or again else known[1]
            pace.done, pace.total, pace.now = done, total, now
            self._phases[owner] = (label, pace)
        if self._quiet:
            return
        if self._progress is not None:
            self._show_bar(self._progress, owner, label, done, total, said, begins)
        else:
            self._show_line(owner, label, done, total, said, begins)

    def _left(self, owner: str) -> float | None:
        """Return the seconds left of an owner's phase, or of all cells; ``None`` if unknown."""
        if owner not in self._phases:
            return None
        label, pace = self._phases[owner]
        now = time.monotonic()
        if label != CELLS or self._grid is None:
            return pace.left(now)
        own = {name: one.left(now) for name, (_, one) in list(self._phases.items()) if name}
        return self._grid.left(now, own)

    def _show_bar(
        self, progress: Progress, owner: str, label: str, done: int, total: int, said: str, begins: bool
    ) -> None:
        from rich.markup import escape

        text = escape(f"{label}, {said}" if said else label)
        if begins:
            if owner in self._tasks:
                progress.remove_task(self._tasks[owner])
            self._tasks[owner] = progress.add_task(text, total=total or None, owner=escape(owner))
        progress.update(self._tasks[owner], completed=done, total=total or None, description=text)

    def _show_line(self, owner: str, label: str, done: int, total: int, said: str, begins: bool) -> None:
        now = time.monotonic()
        shown = 0.0 if begins else self._shown.get(owner, 0.0)
        if not begins and (done < total or not total) and now - shown < PLAIN_INTERVAL:
            return
        if not begins and done >= total and shown == 0.0:
            return
        parts = [f"{done}/{total}" if total else "", said, about(self._left(owner)) if done < total else ""]
        facts = ", ".join(part for part in parts if part)
        print(f"{owner + ': ' if owner else ''}{label}{': ' if facts else ''}{facts}", file=sys.stderr, flush=True)
        self._shown[owner] = now if done < total or not total else 0.0
