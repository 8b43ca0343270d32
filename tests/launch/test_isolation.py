"""Methods that misbehave in every way: each fails alone with its reason, and its siblings finish."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from grid_fixture import cells, pids_below, run, state
from job_fixture import planned

from anyadbench.cells.job import Job, Outcome
from anyadbench.cli.run import last_words
from anyadbench.launch.supervisor import Supervisor, worker_outcome
from anyadbench.launch.worker import log_tail

FAST = ("raise", "exit-zero", "segfault", "fork", "binary")
SLOW = (
    "nan", "nan-loss", "shape", "dtype", "memory", "exit", "hang", "deaf", "fork-back", "prints", "killed",
)  # fmt: skip


class Grid(NamedTuple):
    runs: Path
    done: subprocess.CompletedProcess[str]


def run_grid(names: tuple[str, ...], runs: Path, site: Path, protocol: Path, phantom: Path) -> Grid:
    import os

    methods = [part for name in names for part in ("--method", f"bad-{name}")]
    options = ["--protocol", protocol, "--data", phantom, "--runs", runs, "--slots", 2, "--time-limit", "40s"]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return Grid(runs, run("run", *methods, "--method", "toy", *options, env=environment))


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory, toy_site: Path, tiny_protocol: Path, tiny_phantom: Path) -> Grid:
    return run_grid(FAST, tmp_path_factory.mktemp("fast") / "runs", toy_site, tiny_protocol, tiny_phantom)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory, toy_site: Path, tiny_protocol: Path, tiny_phantom: Path) -> Grid:
    return run_grid(SLOW, tmp_path_factory.mktemp("slow") / "runs", toy_site, tiny_protocol, tiny_phantom)


def check_siblings(grid: Grid, finished: set[str], names: tuple[str, ...], code: int = 1) -> None:
    assert grid.done.returncode == code, grid.done.stderr
    assert {path.name.partition("_")[0] for path in cells(grid.runs)} == finished
    failed = len(names) + 1 - len(finished)
    assert f"{len(names) + 1} cells: {len(finished)} done, {failed} failed" in grid.done.stderr


def failure(grid: Grid, name: str) -> str:
    found = state(grid.runs, f"bad-{name}")
    assert found["state"] == "failed"
    assert f"bad-{name} · tiny · seed 0: failed: " in grid.done.stderr
    return str(found["error"])


def test_siblings_of_bad_methods_finish_and_the_exit_code_counts(fast: Grid) -> None:
    check_siblings(fast, {"toy", "bad-fork"}, FAST)


def test_an_exception_is_recorded_with_its_traceback(fast: Grid) -> None:
    place = r"toy_methods\.py:\d+ in misbehave: RuntimeError: no such luck"
    assert re.fullmatch(place, failure(fast, "raise"))
    assert any("in misbehave" in line for line in state(fast.runs, "bad-raise")["log_tail"])


def test_the_command_shows_the_place_and_with_an_option_the_traceback(fast: Grid) -> None:
    said = fast.done.stderr.partition("bad-raise · tiny · seed 0: failed: ")[2].splitlines()
    assert said[1] == "  | --traceback shows where the error comes from." or "Z " in said[1]
    assert "Traceback (most recent call last)" not in fast.done.stderr.partition("bad-segfault")[0]
    (folder,) = (path for path in (fast.runs / "cells").glob("bad-raise_*") if path.is_dir())
    job = Job.load(folder)
    outcome = Outcome(job, "failed", "", tuple(log_tail(folder / "log.txt")))
    short, whole = (last_words(outcome, traceback) for traceback in (False, True))
    assert short[-1] == "--traceback shows where the error comes from."
    assert not any("misbehave" in line for line in short) and any("Z training" in line for line in short)
    assert whole[:-1] != short[:-1] and whole[-1] == "RuntimeError: no such luck"
    assert any("in misbehave" in line for line in whole)


def test_an_exit_code_of_zero_does_not_pass_for_success(fast: Grid) -> None:
    assert "ended with exit code 0 without saying why" in failure(fast, "exit-zero")


def test_a_segmentation_fault_leaves_its_traceback(fast: Grid) -> None:
    assert "ended by signal SIGSEGV" in failure(fast, "segfault")
    tail = state(fast.runs, "bad-segfault")["log_tail"]
    assert any("Segmentation fault" in line for line in tail)
    assert any("in training_step" in line for line in tail)


def test_nothing_that_a_method_started_outlives_its_cell(fast: Grid) -> None:
    deadline = time.monotonic() + 5
    while pids_below(fast.runs) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert pids_below(fast.runs) == []


def test_what_a_method_prints_cannot_steer_the_terminal(fast: Grid) -> None:
    failure(fast, "binary")
    assert not set(fast.done.stderr + fast.done.stdout) & set("\x1b\x07\x00")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nan", "NotFinite: the scores of Phantom_"),
        ("nan-loss", "NotFinite: loss 'loss' is nan at step 10"),
        ("shape", "TypeError: Toy.score must return floating-point maps of shape"),
        ("dtype", "TypeError: Toy.score must return floating-point maps of shape"),
        ("memory", "try --set bad-memory.batch_size=4 (another cell: its numbers differ)"),
        ("exit", "ended with exit code 3 without saying why"),
        ("hang", "The time limit of 40 s passed while 'training'; it did not stop within 10 s and was killed"),
        ("deaf", "The time limit of 40 s passed while 'training'; it did not stop within 10 s and was killed"),
        ("deaf", "Raise --time-limit and run the same command again"),
        ("prints", "RuntimeError: said enough"),
        ("killed", "ended by signal SIGKILL 3 times"),
        ("killed", "memory ran out: try --set bad-killed.batch_size=4"),
    ],
)
def test_a_bad_method_fails_alone_and_says_why(name: str, said: str, slow: Grid) -> None:
    check_siblings(slow, {"toy", "bad-fork-back"}, SLOW)
    assert said in failure(slow, name)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_forked_process_that_comes_back_is_ended(slow: Grid) -> None:
    (cell,) = (path for path in cells(slow.runs) if path.name.startswith("bad-fork-back"))
    assert "process forked by the method returned into the harness and was ended" in (cell / "log.txt").read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_log_of_a_method_that_prints_without_end_stays_short(slow: Grid) -> None:
    (log,) = (slow.runs / "cells").glob("bad-prints_*/log.txt")
    assert log.stat().st_size < 25e6
    text = log.read_text()
    assert "the middle of this log was dropped" in text
    assert "said enough" in text[-5000:]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_method_that_fills_the_disk_fails_alone(
    toys: Path, tiny_protocol: Path, tiny_phantom: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=30m", "none", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no small file system can be mounted here (that needs root)")
    try:
        import os

        environment = {**os.environ, "TMPDIR": str(small)}
        options = ["--protocol", tiny_protocol, "--data", tiny_phantom, "--runs", small / "runs"]
        grid = Grid(small / "runs", run("run", "--method", "bad-disk", "--method", "toy", *options, env=environment))
        check_siblings(grid, {"toy"}, ("disk",), 2)  # what the user can fix
        assert "The disk is full" in failure(grid, "disk")
        assert not list(small.glob("anyadbench-*"))
    finally:
        subprocess.run(["umount", str(small)], check=False)


def test_the_advice_for_a_cell_out_of_memory_is_a_batch_size(tmp_path: Path) -> None:
    from job_fixture import planned

    from anyadbench.launch.worker import is_out_of_memory, smaller_batch

    class OutOfMemoryError(RuntimeError):
        """As torch's for a GPU."""

    assert is_out_of_memory(OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    asked = planned(tmp_path, params={"batch_size": 16})
    assert "--set mine.batch_size=8" in smaller_batch(asked)
    assert "run fewer cells at once" in smaller_batch(planned(tmp_path, params={"batch_size": 1}))
    asked.fit.final.mkdir(parents=True)
    (asked.fit.final / asked.fit.record).write_text("{}")
    assert "scoring takes a fixed number of slices at once whatever the batch size" in smaller_batch(asked)


def test_a_long_log_loses_its_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anyadbench.launch import supervisor as supervise

    for name, value in (("LOG_CAP", 1000), ("LOG_HEAD", 100), ("LOG_TAIL", 200)):
        monkeypatch.setattr(supervise, name, value)
    log = tmp_path / "log.txt"
    log.write_text("first" + "x" * 2000 + "last")
    supervise.shorten_log(log)
    assert log.stat().st_size < 400
    assert log.read_text().startswith("first")
    assert log.read_text().endswith("last")
    before = log.read_text()
    supervise.shorten_log(log)
    assert log.read_text() == before


class Sleeper(Supervisor):
    """A worker that prints what it does and then sleeps, with or without handling SIGTERM."""

    deaf = False

    def _start(self, events: int, early: Any, scratch: str) -> subprocess.Popen[bytes]:
        ear = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if self.deaf else "pass"
        code = (
            f"import os, signal, time\n{ear}\n"
            f'os.write({events}, b\'not json\\n{{"phase": "training"}}\\n\')\ntime.sleep(60)'
        )
        return subprocess.Popen([sys.executable, "-c", code], pass_fds=(events,), start_new_session=True)


@pytest.mark.parametrize("deaf", [False, True])
def test_a_worker_is_ended_at_its_time_limit(deaf: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anyadbench.launch import supervisor as supervise

    monkeypatch.setattr(supervise, "GRACE", 0.5)
    monkeypatch.setattr(Sleeper, "deaf", deaf)
    asked = planned(tmp_path, time_limit=1.0)
    asked.save()
    ended = Sleeper(asked).run()
    assert ended.status == "failed"
    assert "The time limit of 1 s passed while 'training'" in ended.error
    assert ("was killed" in ended.error) == deaf
    assert asked.cell.state()["error"] == ended.error


def test_a_worker_that_is_stopped_before_it_begins_is_not_started(tmp_path: Path) -> None:
    asked = planned(tmp_path)
    asked.save()
    supervisor = Sleeper(asked)
    supervisor.stop()
    assert supervisor.run().status == "interrupted"


def test_a_state_that_a_method_did_not_reach_is_not_believed(tmp_path: Path) -> None:
    """A method may end its process with the code that means an interruption."""
    asked = planned(tmp_path)
    asked.save()
    asked.cell.update(state="running")
    assert worker_outcome(asked, 75).status == "failed"
    assert asked.cell.state()["state"] == "failed"


@pytest.mark.parametrize("stopping", [False, True])
def test_a_worker_that_waited_leaves_the_record_of_the_cell_alone(stopping: bool, tmp_path: Path) -> None:
    asked = planned(tmp_path)
    asked.save()
    asked.cell.update(state="running")
    with asked.cell.lock():  # of the process that runs the cell
        ended = worker_outcome(asked, -signal.SIGKILL, stopping=stopping)
    assert ended.status == ("interrupted" if stopping else "failed")
    assert asked.cell.state()["state"] == "running"
    ended = worker_outcome(asked, -signal.SIGKILL, stopping=stopping)
    assert asked.cell.state()["state"] == ended.status and asked.cell.state()["error"] == ended.error


def test_a_cell_that_finishes_at_its_time_limit_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anyadbench.launch import supervisor as supervise

    monkeypatch.setattr(supervise, "GRACE", 0.5)
    asked = planned(tmp_path, time_limit=1.0)
    asked.save()
    asked.cell.complete()  # and its worker does not end
    assert Sleeper(asked).run() == Outcome(asked, "done")
