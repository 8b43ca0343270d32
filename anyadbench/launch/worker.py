"""The process that runs one cell: ``python -m anyadbench.launch.worker CELL_FOLDER [--events FD] [--lifeline FD]``.

Its output goes to the cell's ``log.txt``; progress goes to the given file descriptor. When the other one is closed,
the process that started it is gone: it writes a checkpoint and ends. Exit codes: 0 done, 1 failed,
2 a mistake that the user can fix, 75 interrupted and resumable, 76 to be resumed at once in a new process.
"""

from __future__ import annotations

import errno
import faulthandler
import os
import platform
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from anyadbench.cells.job import Job
from anyadbench.cells.work_folder import PROGRESS, TRACEBACK, WorkFolder, now
from anyadbench.engine.reporter import Interrupted, NewProcess, Reporter, wait_for
from anyadbench.errors import UserError
from anyadbench.files import explain_os_error, make_folder, variable_of, write_text
from anyadbench.plugins import blame
from anyadbench.processes import LIFELINE, end_with_parent
from anyadbench.results.read import LOG_LINES

DONE, FAILED, MISTAKE, INTERRUPTED, AGAIN = 0, 1, 2, 75, 76


def main(arguments: list[str]) -> int:
    """Run the cell whose working folder is the first argument."""
    options = dict(zip(arguments[1::2], map(int, arguments[2::2]), strict=True))
    reporter = Reporter(options.get("--events"))
    reporter.watch_signals()
    if LIFELINE in options:
        end_with_parent(options[LIFELINE], scratch=os.environ["TMPDIR"])
    try:
        job = Job.load(Path(arguments[0]))
        folder = job.cell
        with folder.lock(waiting=lambda: wait_for("another process on this cell", reporter)):
            if folder.done:  # by another process, while this one waited
                shutil.rmtree(folder.work, ignore_errors=True)
                return DONE
            job = Job.load(folder.work)  # again: it may have been replanned while this process waited
            redirect_output(folder.work / "log.txt")
            faulthandler.enable()
            reporter.record_in(folder.work / PROGRESS)
            return _run(job, folder, reporter)
    except Interrupted:
        return INTERRUPTED
    except UserError as error:
        print(error, file=sys.stderr)
        return MISTAKE


def _run(job: Job, folder: WorkFolder, reporter: Reporter) -> int:
    (folder.work / TRACEBACK).unlink(missing_ok=True)
    folder.update(state="running", pid=os.getpid(), host=platform.node(), started=now(), error=None, log_tail=[])
    try:
        reporter.progress(0, 0, "starting")
        from anyadbench.engine.numerics import apply_policy

        apply_policy(job.numerics)
        from anyadbench.cells.scored_cell import run_cell

        run_cell(job, reporter)
    except Interrupted:
        folder.update(state="interrupted", finished=now(), error="Stopped on request; the same command resumes it.")
        return INTERRUPTED
    except NewProcess as error:
        folder.update(state="interrupted", finished=now(), error=f"{error} The same command resumes it.")
        return AGAIN
    except UserError as error:
        return _fail(folder, str(error), MISTAKE, reporter)
    except Exception as error:  # a method may raise anything; the cell records it and fails alone
        said = _recorded(error, folder)
        if isinstance(error, PermissionError) and isinstance(error.filename, str):
            # A library's own folder, such as MPLCONFIGDIR: the user chose it with a variable.
            place = Path(error.filename)
            if variable := variable_of(place):
                return _fail(folder, str(explain_os_error(error, place, variable)), MISTAKE, reporter)
        if is_out_of_memory(error):
            said = f"Memory ran out ({said}); {smaller_batch(job)}"
        elif isinstance(error, OSError):
            said = str(explain_os_error(error, folder.work)) if error.errno in (errno.ENOSPC, errno.EDQUOT) else said
        return _fail(folder, said, FAILED, reporter)
    return DONE


def _recorded(error: Exception, folder: WorkFolder) -> str:
    """Write an error's traceback into the log and the folder; return the error with its place in the plugin."""
    text = blame.whole(error)
    with suppress(OSError, UserError):  # a full disk
        sys.stderr.write(text)
        write_text(folder.work / TRACEBACK, text)
    return blame.blame(error) or blame.described(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the host or the device ran out of memory.

    Torch has its own error type for GPUs only; its CPU allocator raises a plain ``RuntimeError``.
    """
    text = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text))
    )


def smaller_batch(job: Job) -> str:
    """Return the advice for a cell that ran out of memory."""
    if job.fit.done:
        return (
            "scoring takes a fixed number of slices at once whatever the batch size, so run fewer cells at once "
            "(--slots), or use a machine or GPU with more memory; the trained model is kept."
        )
    batch = job.params.get("batch_size")
    if isinstance(batch, int) and batch > 1:
        return f"try --set {job.method}.batch_size={batch // 2} (another cell: its numbers differ)."
    return "run fewer cells at once (--slots), or a smaller budget."


def _fail(folder: WorkFolder, error: str, code: int, reporter: Reporter) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    reporter.send(phase="failed", error=error)  # reaches the launcher even if the disk is full
    tail = log_tail(folder.work / "log.txt")
    folder.update(state="failed", finished=now(), error=error, log_tail=tail, mistake=code == MISTAKE)
    return code


def log_tail(path: Path, lines: int = LOG_LINES, most: int = 20000) -> list[str]:
    """Return the last lines of a log, each cut to 500 characters, without reading all of it."""
    if not path.is_file():
        return []
    with open(path, "rb") as handle:
        handle.seek(max(0, path.stat().st_size - most))
        return [line[:500] for line in handle.read().decode("utf-8", "replace").splitlines()[-lines:]]


def redirect_output(path: Path) -> None:
    """Send this process's standard output and error, of C code too, to the end of a file."""
    make_folder(path.parent)
    try:
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise explain_os_error(error, path) from None
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
