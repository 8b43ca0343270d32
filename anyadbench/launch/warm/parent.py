"""The process that workers are forked from, once it has imported what every worker imports.

It stays single-threaded, since a fork copies only the thread that calls it, and never initialises CUDA, which does not
survive a fork. It imports no plugin: an error of one would reach all cells, and a plugin may change between two cells.

Every message on its socket is one JSON object. Requests: ``start``, with the descriptors of standard error, events and
lifeline, and ``signal``. Answers: ``ready`` or ``unusable``, ``started`` or ``refused``, and ``ended`` with the exit
code of a worker, negative for a signal.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from anyadbench.launch.warm.aside import Aside
from anyadbench.processes import LIFELINE, end_with_parent, python_command

LARGEST = 1 << 16
"""Bytes of a message, and of what imports printed."""

GRACE = 1.0
"""Seconds that this process has to end once the command that started it is gone."""

Stamps = dict[str, tuple[int, int, int]]


@dataclass(frozen=True)
class Request:
    """A worker to start.

    Attributes:
        number: What the launcher calls it.
        folder: Working folder of the cell.
        environment: Variables that differ from this process's; ``None`` removes one.
        current: Current folder; empty if it was removed.
        descriptors: Standard error, events and lifeline.
    """

    number: int
    folder: str
    environment: Mapping[str, str | None]
    current: str
    descriptors: tuple[int, ...]


class Parent:
    """Forks workers and reports how they end.

    Args:
        channel: Socket to the launcher.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._workers: set[int] = set()
        self._stamps: Stamps = {}
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)

    def serve(self) -> Request:
        """Answer requests until the launcher is gone, which ends this process; returns only in a worker.

        The worker begins with all signals blocked, so that none reaches it before it has handlers of its own.
        """
        self._stamps = stamps()
        before = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        self.send(ready=True)
        while True:
            readable, _, _ = select.select([self._channel.fileno(), self._woken], [], [])
            if self._woken in readable:
                os.read(self._woken, LARGEST)
                self._reap()
            if self._channel.fileno() not in readable:
                continue
            request = self._receive()
            if request is not None and self._fork(request):
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, before)
                os.close(self._wake)
                os.close(self._woken)
                self._channel.close()
                return request

    def send(self, **message: Any) -> None:
        """Send a message; without a launcher, this process ends."""
        try:
            self._channel.send(json.dumps(message).encode())
        except OSError:
            os._exit(0)

    def _receive(self) -> Request | None:
        """Return the next request to start a worker, or ``None`` after one of another kind."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._channel, LARGEST, 3)
        except OSError:
            data = b""
        if not data:
            os._exit(0)  # no cleaning up: the workers have their own lifelines
        message = json.loads(data)
        if "start" in message:
            return Request(**message["start"], descriptors=tuple(descriptors))
        if message["pid"] in self._workers:  # else it has ended, and its number may be another process's by now
            with suppress(ProcessLookupError):
                os.kill(message["pid"], message["signal"])
        return None

    def _fork(self, request: Request) -> bool:
        """Fork unless something speaks against it; return whether this is the new process."""
        reason, pid = refusal(self._stamps), 0
        held = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            if not reason:
                pid = os.fork()
                if not pid:
                    return True
        except OSError as error:
            reason = f"it cannot fork: {error.strerror}"
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        for descriptor in request.descriptors:
            os.close(descriptor)
        if reason:
            self.send(refused=request.number, reason=reason)
        else:
            self._workers.add(pid)
            self.send(started=request.number, pid=pid)
        return False

    def _reap(self) -> None:
        for pid in list(self._workers):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._workers.discard(pid)
                self.send(ended=pid, code=os.waitstatus_to_exitcode(status))


def threads() -> int:
    """Return the number of threads of this process, those of C libraries included."""
    return len(os.listdir("/proc/self/task"))


def stamps() -> Stamps:
    """Return time, size and inode of the files that would change if anyadbench or a library were replaced."""
    found = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and ("." not in name or name.startswith("anyadbench.")):
            with suppress(OSError):
                status = os.stat(file)
                found[file] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


def refusal(imported: Stamps) -> str:
    """Return why no worker may be forked now; empty if nothing speaks against it."""
    if threads() > 1:
        return "it has more than one thread"
    for file, stamp in imported.items():
        with suppress(OSError):
            status = os.stat(file)
            if (status.st_mtime_ns, status.st_size, status.st_ino) == stamp:
                continue
        return f"{file} has changed since it was imported"
    return ""


def unusable() -> str:
    """Return why no worker can be forked from this process; empty if one can.

    OpenBLAS starts its threads when NumPy is imported, and ends them before every fork: a first one leaves a process
    with one thread, unless another library started some.
    """
    pid = os.fork()
    if not pid:
        lost = getattr(sys.modules.get("torch.cuda"), "_is_in_bad_fork", lambda: False)
        os._exit(int(lost()))
    if os.waitpid(pid, 0)[1]:
        return "its imports initialised CUDA"
    return "its imports started threads" if threads() > 1 else ""


def import_ahead(modules: Sequence[str], aside: Sequence[str]) -> Aside:
    """Import what workers use; return what they see only once they import it.

    Raises:
        Exception: Whatever an import raises.
    """
    for name in modules:
        importlib.import_module(name)
    hidden = Aside()
    for name in aside:
        hidden.put(name)
    gc.collect()
    gc.freeze()  # a collection in a worker would copy the pages that it shares with this process
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return hidden


def detach(request: Request, mask: Set[int]) -> None:
    """Give a forked process its own session, streams, environment, folder and random state, as a new one has.

    Args:
        request: The worker.
        mask: Signals to block from now on.
    """
    os.setsid()
    error = request.descriptors[0]
    null = os.open(os.devnull, os.O_RDWR)
    said = b""
    with suppress(OSError):
        said = os.pread(2, LARGEST, 0)  # what the imports printed
    for stream, source in enumerate((null, null, error)):
        os.dup2(source, stream)
    os.close(null)
    os.close(error)
    with suppress(OSError):
        os.write(2, said)
    for name, value in request.environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    with suppress(OSError):
        os.chdir(request.current)
    tempfile.tempdir = None
    atexit.register(gc.unfreeze)  # else the end of Python leaves objects, which some libraries report as leaks
    if "numpy" in sys.modules:  # Python seeds its own generator after a fork
        sys.modules["numpy"].random.seed()
    importlib.invalidate_caches()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def become(worker: str, request: Request) -> NoReturn:
    """Run a worker's module as ``python -m`` does; its exit code is this process's."""
    _, events, lifeline = map(str, request.descriptors)
    arguments = [request.folder, "--events", events, LIFELINE, lifeline]
    sys.argv = [sys.argv[0], *arguments]
    sys.orig_argv = python_command("-m", worker, *arguments)
    runpy.run_module(worker, run_name="__main__", alter_sys=True)
    sys.exit()


def main(channel: int, lifeline: int, worker: str, modules: str, aside: str) -> NoReturn:
    """Import modules, then fork workers until the launcher is gone.

    Args:
        channel: Descriptor of the socket to the launcher.
        lifeline: Descriptor that closes when the launcher is gone, also during the imports.
        worker: Module to run in every forked process.
        modules: What to import, with commas between.
        aside: What to import and put aside, with commas between.
    """
    end_with_parent(lifeline, grace=GRACE)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    parent = Parent(socket.socket(fileno=channel))
    try:
        hidden = import_ahead(modules.split(","), list(filter(None, aside.split(","))))
        reason = unusable()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
    if reason:
        parent.send(unusable=reason)
        sys.exit(1)
    request = parent.serve()
    detach(request, mask)
    hidden.install()
    become(worker, request)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:6])
