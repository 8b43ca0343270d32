"""Processes of Python that import what this one imports, and that end when this one is gone."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

LIFELINE = "--lifeline"
"""Option by which a process gets the end of a pipe that closes when the process that started it is gone."""

ORPHAN_GRACE = 10.0
"""Seconds that a process has for its checkpoint once the one that started it is gone."""

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that ask for a stop: Ctrl-C, and those of terminals, administrators and schedulers."""


def stop_on_signals() -> None:
    """Let every signal that asks for a stop raise ``KeyboardInterrupt``; only Ctrl-C can ask a second time.

    A signal that is ignored stays so: ``nohup`` lets a command outlive its terminal that way.
    """
    for number in STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


def stop(number: int, frame: FrameType | None) -> NoReturn:
    """Raise ``KeyboardInterrupt``, and ignore all signals of ``STOPS`` but SIGINT from now on.

    One end is often announced twice: bash passes the SIGHUP of a closed terminal on to its jobs, and the kernel sends
    another when bash has ended; SLURM may signal a command beside the process that passes the signal on. Processes that
    are started from now on, such as SLURM's tools, ignore these signals too.
    """
    for other in STOPS:
        if other != signal.SIGINT:
            signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt


def python_command(*arguments: str) -> list[str]:
    """Return a command that runs this interpreter; it does not search the current folder for modules.

    ``python -m`` and ``python -c`` search the folder that they are started in before all others, which the command
    that the user gave need not do: a file ``torch.py`` there would replace the library.
    """
    return [sys.executable, "-P", *arguments]


def search_path() -> list[str]:
    """Return the folders that this process searches for modules before the interpreter's own, as absolute paths.

    They come from ``PYTHONPATH``, from the script's folder or ``-m``, and from whatever was added since.
    """
    own = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    version = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    scripts = {os.path.realpath(sysconfig.get_path("scripts")), os.path.realpath(Path(sys.executable).parent)}
    found: list[str] = []
    for entry in sys.path:
        if entry in own or os.path.basename(entry) == version:
            break
        try:
            folder = os.path.abspath(entry)
        except FileNotFoundError:  # the current folder was removed
            continue
        # The folder of the installed command holds no modules; PYTHONPATH cannot name a folder with its separator.
        if os.path.realpath(folder) not in scripts and os.pathsep not in folder:
            found.append(folder)
    return list(dict.fromkeys(found))


def python_path() -> dict[str, str]:
    """Return the variable that lets a process of ``python_command`` search where this one does; empty if none must."""
    folders = search_path()
    return {"PYTHONPATH": os.pathsep.join(folders)} if folders else {}


def portable_command(*arguments: str) -> list[str]:
    """Return ``python_command`` with the folders to search, for a shell or a machine with another environment."""
    settings = [f"{name}={value}" for name, value in python_path().items()]
    return [*(["env", *settings] if settings else []), *python_command(*arguments)]


def end_with_parent(descriptor: int, *, grace: float = ORPHAN_GRACE, scratch: str = "") -> None:
    """Let this process end when the one that started it is gone, however that ended.

    A forked process waits for the end of the pipe. It then asks this one to stop, as a scheduler does, and after some
    time kills whatever is left of the process group. A thread could not: a method may block every thread.

    Args:
        descriptor: Reading end of a pipe; only the process that started this one holds the other end.
        grace: Seconds that this process has to write a checkpoint.
        scratch: Folder of temporary files, which nobody else would remove then.
    """
    process = os.getpid()
    with suppress(OSError):  # it is the leader of a session already
        os.setpgid(0, 0)
    if os.fork():
        os.close(descriptor)
        return
    try:
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)
        os.closerange(0, descriptor)
        os.closerange(descriptor + 1, 4096)
        while os.read(descriptor, 1):
            pass
        _end(process, grace)
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
        os.killpg(os.getpgrp(), signal.SIGKILL)
    finally:
        os._exit(0)


def _end(process: int, grace: float) -> None:
    deadline = time.monotonic() + grace
    with suppress(OSError):
        os.kill(process, signal.SIGTERM)
        # The parent of this process is the one that it watches, until that ends.
        while os.getppid() == process and time.monotonic() < deadline:
            time.sleep(0.1)
        if os.getppid() == process:
            os.kill(process, signal.SIGKILL)


@contextmanager
def without_current_folder() -> Iterator[None]:
    """Let processes that ``multiprocessing`` starts search the current folder only if this one does."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


def end_pool_process() -> None:
    """Let a process of a pool end with the one that made the pool; for the pool's ``initializer``.

    Without it, a pool whose maker was killed waits for work forever.
    """
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
