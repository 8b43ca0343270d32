"""The launcher's side of the process that workers are forked from.

Only Linux forks workers: Apple's libraries (Accelerate, Metal) do not survive a fork, so workers start by themselves on
macOS.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from anyadbench.cells.job import Job
from anyadbench.processes import python_command

IMPORTS = (
    "anyadbench.cells.scored_cell", "anyadbench.plugins.blame", "anyadbench.api", "pandas", "cv2", "torch._dynamo",
    "packaging.requirements", "pydantic.type_adapter",
)  # fmt: skip
"""What workers import whatever their method; the optimisers of torch import ``torch._dynamo`` when they are made."""

ASIDE = ("PIL.Image", "torchvision", "huggingface_hub", "timm")
"""What many methods import, each after those before it; the others do not see it."""

ANSWER = 60.0
"""Seconds within which a request is answered."""

ENDING = 5.0
OWN = ("CUDA_VISIBLE_DEVICES", "TMPDIR")
"""Variables that may differ from worker to worker: what reads them does so after the fork."""


class ForkedWorker:
    """A forked worker, with what a supervisor uses of ``subprocess.Popen``.

    Attributes:
        pid: Its process, which leads a session.
    """

    def __init__(self, pid: int, changed: threading.Condition, send: Callable[[int, int], None]) -> None:
        self.pid = pid
        self._changed, self._send = changed, send
        self._code: int | None = None

    def end(self, code: int) -> None:
        """Record its exit code, negative for a signal; the caller holds the condition."""
        self._code = code
        self._changed.notify_all()

    def poll(self) -> int | None:
        """Return its exit code, ``None`` while it runs."""
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code when it has ended.

        Raises:
            subprocess.TimeoutExpired: If it runs for longer than ``timeout`` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._code is not None, timeout):
                raise subprocess.TimeoutExpired(f"worker {self.pid}", timeout or 0.0)
            assert self._code is not None
            return self._code

    def send_signal(self, number: int) -> None:
        """Send it a signal unless it has ended."""
        if self._code is None:
            self._send(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end with SIGTERM."""
        self.send_signal(signal.SIGTERM)


class WarmParent:
    """A process that has imported what workers import, and forks them.

    Args:
        environment: Its environment, and that of its workers without ``OWN``.
        note: Called once if it is lost, with why.
        worker: Module that a worker runs.
        modules: What is imported before the first fork.
        aside: What is imported too, but hidden from workers until they import it.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        note: Callable[[str], None],
        *,
        worker: str = "anyadbench.launch.worker",
        modules: Sequence[str] = IMPORTS,
        aside: Sequence[str] = ASIDE,
    ) -> None:
        self.environment = dict(environment)
        self._note = note
        self._changed = threading.Condition()
        self._state, self._closing = "importing", False
        self._asked = 0
        self._waiting: set[int] = set()
        self._answers: dict[int, ForkedWorker | str] = {}
        self._workers: dict[int, ForkedWorker] = {}
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        lifeline, self._held = os.pipe()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (close() closes it)
        names = (worker, ",".join(modules), ",".join(aside))
        command = python_command("-m", f"{__package__}.parent", str(theirs.fileno()), str(lifeline), *names)
        try:
            self._process = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._said,
                pass_fds=(theirs.fileno(), lifeline), start_new_session=True,
            )  # fmt: skip
        finally:
            theirs.close()
            os.close(lifeline)
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ready(self, stopping: Callable[[], bool] = lambda: False) -> bool:
        """Wait until it can fork; return ``False`` if it is lost, or as soon as ``stopping``."""
        with self._changed:
            while self._state == "importing" and not stopping():
                self._changed.wait(0.1)
            return self._state == "ready"

    def start(
        self, folder: str, environment: Mapping[str, str], *, errors: int, events: int, lifeline: int
    ) -> ForkedWorker | None:
        """Fork a worker; return ``None`` if that is not possible (any more), which is noted.

        Args:
            folder: Working folder of the cell.
            environment: The worker's environment.
            errors: Descriptor of its standard error until it has a log.
            events: Descriptor that its events go to.
            lifeline: Descriptor that closes when this process is gone.
        """
        with self._changed:
            self._asked += 1
            number = self._asked
            self._waiting.add(number)
        own = {name: environment.get(name) for name in {*environment, *self.environment}}
        request = {
            "number": number,
            "folder": folder,
            "environment": {name: value for name, value in own.items() if value != self.environment.get(name)},
            "current": _current_folder(),
        }
        with suppress(OSError):  # it is gone, which the reader notes
            socket.send_fds(self._channel, [json.dumps({"start": request}).encode()], [errors, events, lifeline])
        with self._changed:
            answered = self._changed.wait_for(lambda: number in self._answers or self._state == "lost", ANSWER)
            answer = self._answers.pop(number, None)
            self._waiting.discard(number)
        if isinstance(answer, ForkedWorker):
            return answer
        self._lose(answer or ("it ended" if answered else "it does not answer"))
        return None

    def close(self) -> None:
        """End it, and what it left running; the workers have ended by then."""
        self._closing = True
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        if self._state == "importing":
            self._process.kill()
        try:
            self._process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # the process that watches its lifeline
        self._reader.join()
        self._channel.close()
        os.close(self._held)
        self._said.close()

    def _read(self) -> None:
        why = ""
        while True:
            try:
                data = self._channel.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                break
            why = str(self._take(json.loads(data)) or why)
        self._lose(why or ("" if self._closing else self._last_words()))

    def _take(self, message: dict[str, Any]) -> str | None:
        """Handle a message; return why it cannot fork at all."""
        with self._changed:
            if "ready" in message:
                self._state = "ready"
            elif "started" in message:
                worker = ForkedWorker(message["pid"], self._changed, self._signal)
                self._workers[worker.pid] = self._answers[message["started"]] = worker
                if message["started"] not in self._waiting:  # another process runs the cell by now
                    worker.send_signal(signal.SIGKILL)
            elif "refused" in message:
                self._answers[message["refused"]] = str(message["reason"])
            elif "ended" in message:
                self._workers.pop(message["ended"]).end(message["code"])
            self._changed.notify_all()
        return message.get("unusable")

    def _signal(self, pid: int, number: int) -> None:
        with suppress(OSError):
            self._channel.send(json.dumps({"pid": pid, "signal": number}).encode())

    def _lose(self, why: str) -> None:
        """Fork no more workers; those of a process that is gone are lost like one that was killed from outside.

        Whoever waits for one then kills its session, since the worker itself may still run.
        """
        with self._changed:
            first, self._state = self._state != "lost", "lost"
            if threading.current_thread() is self._reader:
                for worker in self._workers.values():
                    worker.end(-signal.SIGKILL)
                self._workers.clear()
            self._changed.notify_all()
        if first and not self._closing:
            self._note(f"workers no longer share their imports, and each starts by itself: {why}")

    def _last_words(self) -> str:
        """Return how the process ended, with the last line that it printed."""
        code = self._process.wait()
        how = f"the process with them was ended by signal {signal.Signals(-code).name}" if code < 0 else "it ended"
        self._said.seek(0)
        printed = self._said.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
        return f"{how}: {printed[-1]}" if printed else how


class WarmParents:
    """One warm parent for each number of threads that two or more cells of a plan have.

    Libraries read that number when they are loaded. The rest of the environment is that of the first worker.

    Args:
        jobs: The cells to run on this machine.
        environment: Returns the environment of a worker.
        note: Called with messages to show once.
    """

    def __init__(
        self, jobs: Sequence[Job], environment: Callable[[Job], dict[str, str]], note: Callable[[str], None]
    ) -> None:
        self._environment, self._note = environment, note
        self._lock = threading.Lock()
        self._counts = Counter(_threads(job) for job in jobs) if sys.platform == "linux" else Counter()
        self._parents: dict[str, WarmParent] = {}

    def parent_of(self, job: Job, stopping: Callable[[], bool] = lambda: False) -> WarmParent | None:
        """Return a warm parent that can fork a worker for a cell, once it has imported everything; else ``None``."""
        if self._counts[_threads(job)] < 2:
            return None
        environment = self._environment(job)
        with self._lock:
            parent = self._parents.get(_threads(job))
            if parent is None:
                parent = self._parents[_threads(job)] = WarmParent(environment, self._note)
        same = {**parent.environment, **dict.fromkeys(OWN, "")} == {**environment, **dict.fromkeys(OWN, "")}
        return parent if same and parent.ready(stopping) else None

    def close(self) -> None:
        """End every warm parent."""
        for parent in self._parents.values():
            parent.close()


def _threads(job: Job) -> str:
    return str(job.policy["threads"])


def _current_folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed
        return ""
