"""Progress on standard error: bars with time estimates on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from anyadbench.cells.job import Job

PLAIN_INTERVAL = 15.0
"""Seconds between plain lines of one phase."""


class Display:
    """Shows phases of work with done, total and a time estimate; writes to standard error only.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._progress: Progress | None = None
        self._tasks: dict[str, tuple[str, TaskID]] = {}
        self._plain: dict[str, tuple[str, float, float]] = {}

    def __enter__(self) -> Display:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._progress = Progress(
                TextColumn("[bold]{task.fields[owner]}"),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("elapsed"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
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
        self._show(job.label, str(event.get("phase", "")), int(event.get("done", 0)), int(event.get("total", 0)))

    def note(self, text: str) -> None:
        """Print a message once."""
        if self._quiet:
            return
        if self._progress is not None:
            self._progress.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def _show(self, owner: str, label: str, done: int, total: int) -> None:
        if self._quiet:
            return
        if self._progress is not None:
            self._show_bar(self._progress, owner, label, done, total)
        else:
            self._show_line(owner, label, done, total)

    def _show_bar(self, progress: Progress, owner: str, label: str, done: int, total: int) -> None:
        from rich.markup import escape

        known = self._tasks.get(owner)
        if known is None or known[0] != label:
            if known is not None:
                progress.remove_task(known[1])
            task = progress.add_task(escape(label), total=total or None, owner=escape(owner))
            self._tasks[owner] = (label, task)
        progress.update(self._tasks[owner][1], completed=done, total=total or None)

    def _show_line(self, owner: str, label: str, done: int, total: int) -> None:
        now = time.monotonic()
        phase, begun, said = self._plain.get(owner, ("", now, 0.0))
        if phase != label:
            begun, said = now, 0.0
        if phase == label and done < total and now - said < PLAIN_INTERVAL:
            return
        if phase == label and done >= total and said == 0.0:
            return
        left = f", about {(now - begun) / done * (total - done):.0f} s left" if 0 < done < total else ""
        count = f": {done}/{total}{left}" if total else ""
        print(f"{owner + ': ' if owner else ''}{label}{count}", file=sys.stderr, flush=True)
        self._plain[owner] = (label, begun, now if done < total or not total else 0.0)
