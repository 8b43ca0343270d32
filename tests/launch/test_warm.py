"""Workers that are forked from a process with their imports behave like those that start by themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from grid_fixture import cells, content, run, wait_for
from job_fixture import planned

from anyadbench.cells.job import Job
from anyadbench.errors import UserError
from anyadbench.launch import supervisor as supervise
from anyadbench.launch.launchers import LaunchOptions, local
from anyadbench.launch.supervisor import Supervisor
from anyadbench.launch.warm import forked
from anyadbench.launch.warm.forked import ForkedWorker, WarmParent, WarmParents

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks workers")

WORKER = """
import json, os, sys, time
EVENTS = int(sys.argv[3])

def say(**what):
    os.write(EVENTS, (json.dumps(what) + chr(10)).encode())

with open(sys.argv[1]) as file:
    script = file.read()
exec(script)
"""

MODULES = {
    "script_worker.py": WORKER,
    "plain.py": "import sys\nprint('imported ahead', file=sys.stderr)",
    "heavy/__init__.py": "from builtins import print\nfrom heavy import part\nRUNS = part.RUNS\nRUNS.append(1)",
    "heavy/part.py": "RUNS = []",
    "heavier.py": "import heavy",
    "threaded.py": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "stuck.py": "import time\ntime.sleep(600)",
    "broken.py": "raise RuntimeError('no such luck')",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a worker that runs any script, and modules to import ahead."""
    folder = tmp_path_factory.mktemp("warm")
    for name, text in MODULES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@dataclass
class Started:
    """A forked worker with the other ends of its descriptors."""

    worker: ForkedWorker
    events: BinaryIO
    errors: BinaryIO
    held: int

    def said(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.events.readline())
        return found

    def printed(self) -> str:
        self.worker.wait(60)
        self.errors.seek(0)
        return self.errors.read().decode()


class Forks:
    """A warm parent for scripts."""

    def __init__(self, site: Path, modules: tuple[str, ...] = ("plain",), aside: tuple[str, ...] = (), **more: str):
        self.site, self.notes = site, list[str]()
        path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0", "REMOVED": "no", **more}
        self.parent = WarmParent(
            self.environment, self.notes.append, worker="script_worker", modules=modules, aside=aside
        )
        self.open: list[Started] = []

    def start(self, script: str, **changes: str | None) -> Started:
        path = self.site / f"{len(self.open)}.txt"
        path.write_text(script)
        environment = {name: value for name, value in {**self.environment, **changes}.items() if value is not None}
        (reading, writing), (watched, held) = os.pipe(), os.pipe()
        errors = tempfile.TemporaryFile()  # noqa: SIM115
        assert self.parent.ready()
        worker = self.parent.start(str(path), environment, errors=errors.fileno(), events=writing, lifeline=watched)
        os.close(writing)
        os.close(watched)
        assert worker is not None, self.notes
        self.open.append(Started(worker, os.fdopen(reading, "rb"), errors, held))
        return self.open[-1]

    def close(self) -> None:
        for started in self.open:
            started.worker.send_signal(signal.SIGKILL)
            started.events.close()
            started.errors.close()
            os.close(started.held)
        self.parent.close()


@pytest.fixture(scope="module")
def forks(site: Path) -> Iterator[Forks]:
    """A warm parent with modules put aside, shared by the tests that leave it alive."""
    found = Forks(site, ("plain", "numpy"), ("heavy", "heavier"), OPENBLAS_NUM_THREADS="2")
    yield found
    found.close()
    assert found.notes == []


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("pass", 0),
        ("sys.exit(75)", 75),
        ("os._exit(3)", 3),
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
        ("os.closerange(0, 4096)", 0),
    ],
)
def test_the_exit_code_is_the_workers(script: str, code: int, forks: Forks) -> None:
    started = forks.start(script)
    assert started.worker.wait(60) == code
    assert started.worker.poll() == code
    started.worker.send_signal(signal.SIGTERM)  # its number may be another process's by now
    assert started.printed().startswith("imported ahead")


def test_an_error_leaves_its_traceback(forks: Forks) -> None:
    started = forks.start("raise RuntimeError('no such luck')")
    assert started.worker.wait(60) == 1
    assert started.printed().endswith("RuntimeError: no such luck\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_reaches_the_worker_with_pythons_own_handlers(number: signal.Signals, forks: Forks) -> None:
    started = forks.start("say(up=True); time.sleep(60)")
    started.said()
    with pytest.raises(subprocess.TimeoutExpired):
        started.worker.wait(0.01)
    assert started.worker.poll() is None
    started.worker.send_signal(number)
    assert started.worker.wait(60) == -number


STATE = """
import signal, tempfile, threading, random, numpy
say(argv=sys.argv, original=sys.orig_argv, spec=__spec__.name, main=sys.modules["__main__"].__name__,
    mask=list(signal.pthread_sigmask(0, ())), child=signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
    session=os.getsid(0) == os.getpid(), group=os.getpgrp() == os.getpid(), folder=os.getcwd(),
    streams=[os.readlink(f"/proc/self/fd/{i}") for i in (0, 1)], scratch=tempfile.gettempdir(), path=sys.path,
    own=os.environ.get("OWN"), removed=os.environ.get("REMOVED"), hash=hash("a"), executable=sys.executable,
    tasks=len(os.listdir("/proc/self/task")), numbers=[random.random(), numpy.random.rand()],
    killable=open("/proc/self/oom_score_adj").read(), descriptors=sorted(map(int, os.listdir("/proc/self/fd"))))
time.sleep(float(os.environ["PAUSE"]))
"""


def test_a_worker_is_like_one_that_started_by_itself(forks: Forks, tmp_path: Path) -> None:
    own: dict[str, str | None] = {"OWN": "1", "REMOVED": None, "TMPDIR": str(tmp_path)}
    first = forks.start(STATE, **own, PAUSE="60")
    one = first.said()
    second = forks.start(STATE, **own, PAUSE="0")  # while the first runs, whose descriptors it must not have
    two = second.said()
    assert second.worker.wait(60) == 0
    script = str(forks.site / f"{len(forks.open) - 1}.txt")
    options = ["--events", two["argv"][3], "--lifeline", two["argv"][5]]
    (forks.site / "0.txt").write_text(STATE)
    command = [sys.executable, "-P", "-m", "script_worker", script, *options]
    assert two["argv"] == [str(forks.site / "script_worker.py"), *command[4:]]
    assert two["original"] == command
    reading, writing = os.pipe()
    watched, held = os.pipe()
    command[-3], command[-1] = str(writing), str(watched)
    environment = {**forks.environment, "OWN": "1", "TMPDIR": str(tmp_path), "PAUSE": "0"}
    del environment["REMOVED"]
    quiet = subprocess.DEVNULL
    subprocess.run(
        command, env=environment, stdin=quiet, stdout=quiet, stderr=quiet, pass_fds=(writing, watched),
        start_new_session=True, check=True,
    )  # fmt: skip
    os.close(writing)
    with os.fdopen(reading) as file:
        plain = json.loads(file.readline())
    os.close(watched)
    os.close(held)
    alone = ("argv", "original", "numbers", "descriptors", "tasks")
    assert {k: v for k, v in two.items() if k not in alone} == {k: v for k, v in plain.items() if k not in alone}
    assert two["session"] and two["group"] and two["tasks"] == 1
    for state in (one, two):  # streams, events, lifeline, and the folder that was listed
        assert len(state["descriptors"]) == len(plain["descriptors"]) == 6
        assert {0, 1, 2, int(state["argv"][3]), int(state["argv"][5])} < set(state["descriptors"])
    assert not set(one["numbers"]) & set(two["numbers"])


def test_the_parent_has_one_thread_although_numpy_started_more(forks: Forks) -> None:
    assert forks.parent.ready()
    assert len(os.listdir(f"/proc/{forks.parent.pid}/task")) == 1


def test_buffers_are_written_and_exit_handlers_run_once(forks: Forks, tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    script = (
        f"import atexit\nos.dup2(os.open({str(path)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)\n"
        "atexit.register(print, 'at exit')\nprint('buffered')"
    )
    assert forks.start(script).worker.wait(60) == 0
    assert path.read_text() == "buffered\nat exit\n"


def test_modules_put_aside_appear_once_they_are_imported_and_run_once(forks: Forks) -> None:
    script = """
before = [name for name in ("heavy", "heavy.part", "heavier") if name in sys.modules]
import importlib.util
found = importlib.util.find_spec("heavy").origin
from heavy import part
between = "heavier" in sys.modules
import heavy, heavier
say(before=before, between=between, runs=heavy.RUNS, same=[heavier.heavy is heavy, sys.modules["heavy.part"] is part],
    found=found, spec=heavy.__spec__.origin, loader=type(heavy.__spec__.loader).__name__, name=heavier.__spec__.name)
"""
    place = str(forks.site / "heavy/__init__.py")
    assert forks.start(script).said() == {
        "before": [], "between": False, "runs": [1], "same": [True, True], "found": place, "spec": place,
        "loader": "SourceFileLoader", "name": "heavier",
    }  # fmt: skip


@pytest.fixture
def lonely(site: Path) -> Iterator[Callable[..., Forks]]:
    """Makes warm parents for one test."""
    made: list[Forks] = []

    def make(*modules: str) -> Forks:
        made.append(Forks(site, modules or ("plain",)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_the_workers_of_a_parent_that_is_killed_are_lost(lonely: Callable[..., Forks]) -> None:
    forks = lonely()
    started = forks.start("say(up=True); time.sleep(60)")
    started.said()
    os.kill(forks.parent.pid, signal.SIGKILL)
    assert started.worker.wait(60) == -signal.SIGKILL
    assert not forks.parent.ready()
    os.killpg(started.worker.pid, signal.SIGKILL)  # it runs on until the supervisor ends its session
    assert forks.parent.start("", {}, errors=2, events=2, lifeline=2) is None
    (note,) = forks.notes
    assert "each starts by itself: the process with them was ended by signal SIGKILL" in note


@pytest.mark.parametrize(
    ("module", "why"),
    [("threaded", "its imports started threads"), ("broken", "RuntimeError: no such luck")],
)
def test_a_parent_that_cannot_fork_says_why(module: str, why: str, lonely: Callable[..., Forks]) -> None:
    forks = lonely(module)
    assert not forks.parent.ready()
    wait_for(lambda: forks.notes)
    assert forks.notes == [f"workers no longer share their imports, and each starts by itself: {why}"]


def test_nothing_is_forked_from_modules_that_have_changed(lonely: Callable[..., Forks], site: Path) -> None:
    forks = lonely()
    assert forks.parent.ready()
    (site / "plain.py").write_text("import sys\nprint('imported ahead', file=sys.stderr)\n\n")
    assert forks.parent.start("", forks.environment, errors=2, events=2, lifeline=2) is None
    assert f"{site / 'plain.py'} has changed since it was imported" in forks.notes[0]


ORPHANS = """
import os, subprocess, sys, tempfile, time
from anyadbench.launch.warm.forked import WarmParent
parent = WarmParent(os.environ, print, worker="script_worker", modules=[sys.argv[1]], aside=())
print(parent.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("module", ["plain", "stuck"])
def test_a_parent_ends_with_the_command_that_started_it(module: str, site: Path) -> None:
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = subprocess.Popen(
        [sys.executable, "-c", ORPHANS, module], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    )
    assert command.stdout is not None
    pid = int(command.stdout.readline())
    wait_for(lambda: b"warm.parent" in Path(f"/proc/{pid}/cmdline").read_bytes())
    command.kill()
    command.communicate()

    def gone() -> bool:
        try:
            return ") Z " in Path(f"/proc/{pid}/stat").read_text()
        except FileNotFoundError:
            return True

    wait_for(gone)


class OneParent(WarmParents):
    """The given parent for every cell."""

    def __init__(self, parent: WarmParent) -> None:
        self.parent = parent

    def parent_of(self, job: Job, stopping: Callable[[], bool] = lambda: False) -> WarmParent | None:
        return self.parent if self.parent.ready(stopping) else None


def test_a_stop_does_not_wait_for_the_imports(lonely: Callable[..., Forks], tmp_path: Path) -> None:
    asked = planned(tmp_path)
    asked.save()
    supervisor = Supervisor(asked, warm=OneParent(lonely("stuck").parent))
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(supervisor.run()))
    thread.start()
    supervisor.stop()
    thread.join(60)
    assert outcomes[0].status == "interrupted"
    assert outcomes[0].error == "Not started; the same command runs it."


def test_a_supervisor_restarts_a_lost_worker_by_itself(
    lonely: Callable[..., Forks], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forked worker kills its parent; the new one, which is not forked, records that it is done."""
    asked = planned(tmp_path, retries=1)
    asked.save()
    forks = lonely()
    finish = f"import pathlib; pathlib.Path({str(asked.cell.work)!r}).rename({str(asked.cell.final)!r})"
    monkeypatch.setattr(supervise, "python_command", lambda *arguments: [sys.executable, "-c", finish])
    script = tmp_path / "script.txt"
    script.write_text("os.kill(os.getppid(), 9); time.sleep(60)")
    parent, notes = forks.parent, list[str]()
    begin = parent.start
    monkeypatch.setattr(parent, "start", lambda folder, *given, **more: begin(str(script), *given, **more))
    outcome = Supervisor(asked, note=notes.append, warm=OneParent(parent)).run()
    assert outcome.status == "done", outcome
    assert notes == [f"{asked.label}: ended by SIGKILL; restarted (1 of 1)"]
    assert len(forks.notes) == 1


def test_cells_share_a_parent_with_those_of_as_many_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, str]] = []

    class Recorded:
        def __init__(self, environment: dict[str, str], note: Callable[[str], None]) -> None:
            self.environment = environment
            made.append(environment)

        def ready(self, stopping: Callable[[], bool]) -> bool:
            return True

        def close(self) -> None:
            made.clear()

    monkeypatch.setattr(forked, "WarmParent", Recorded)
    jobs = [planned(tmp_path, seed=i, policy={"threads": n}) for i, n in enumerate((1, 2, 1, 2, 4))]
    shared = WarmParents(jobs, lambda job: supervise.worker_environment(job, None), print)
    parents = [shared.parent_of(job) for job in jobs]
    assert parents[0] is parents[2] is not None and parents[1] is parents[3] is not None
    assert parents[0] is not parents[1] and parents[4] is None
    assert [environment["OMP_NUM_THREADS"] for environment in made] == ["1", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert shared.parent_of(jobs[0]) is parents[0]
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")  # a library may have read it when it was loaded
    assert shared.parent_of(jobs[0]) is None
    shared.close()
    assert made == []
    monkeypatch.setattr(sys, "platform", "darwin")
    assert WarmParents(jobs, lambda job: {}, print).parent_of(jobs[0]) is None


def test_the_local_launcher_takes_yes_or_no(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--launcher-option fork=maybe: give yes or no"):
        local.launch([planned(tmp_path)], LaunchOptions(None, 1, {"fork": "maybe"}))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="--launcher-option frok: the launcher local has no such setting"):
        local.launch([planned(tmp_path)], LaunchOptions(None, 1, {"frok": "no"}))  # type: ignore[arg-type]


@pytest.mark.slow
def test_forked_cells_have_the_bytes_of_cells_that_start_by_themselves(
    toys: Path, options: list[str], tmp_path: Path
) -> None:
    found = {}
    for fork in ("yes", "no"):
        runs = tmp_path / fork
        methods = ["--method", "toy", "--method", "pixelstats"]
        done = run("run", *methods, *options, "--runs", runs, "--launcher-option", f"fork={fork}")
        assert done.returncode == 0, done.stderr
        assert "share their imports" not in done.stderr
        manifests = [json.loads((cell / "manifest.json").read_text())["environment"] for cell in cells(runs)]
        logs = [sorted(set(line[21:] for line in (cell / "log.txt").read_text().splitlines())) for cell in cells(runs)]
        found[fork] = content(runs), manifests, [[line for line in log if " s and " not in line] for log in logs]
    assert found["yes"] == found["no"]
    assert len(found["yes"][0]) > 10
