"""Every launcher gives the same bytes for the same small grid."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import slurm_cluster
from grid_fixture import cells, content, run, start, wait_for
from job_fixture import planned

from anyadbench.cells.job import Job, Outcome
from anyadbench.errors import UserError
from anyadbench.launch import dispatch as executing
from anyadbench.launch.launchers import LaunchOptions, find_launcher, local, slurm

GRID = ("--method", "toy", "--seed", 0, "--seed", 1)


@pytest.fixture(scope="module")
def options(options: list[str]) -> list[object]:
    return [*GRID, *options]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, toy_site: Path, options: list[object]) -> dict[str, bytes]:
    """The result of one slot of the local launcher."""
    runs = tmp_path_factory.mktemp("expected") / "runs"
    done = run("run", *options, "--runs", runs, env={**os.environ, "PYTHONPATH": str(toy_site)})
    assert done.returncode == 0, done.stderr
    found = content(runs)
    assert len(cells(runs)) == 2
    return found


@pytest.mark.slow
def test_two_slots_give_the_same_bytes(
    toys: Path, expected: dict[str, bytes], options: list[object], tmp_path: Path
) -> None:
    done = run("run", *options, "--runs", tmp_path / "runs", "--slots", 2)
    assert done.returncode == 0, done.stderr
    assert "cells: 2/2" in done.stderr
    assert content(tmp_path / "runs") == expected


@pytest.mark.slow
def test_printed_commands_work_in_any_order_twice_and_in_parallel(
    toys: Path, expected: dict[str, bytes], options: list[object], tmp_path: Path
) -> None:
    runs = tmp_path / "a folder with 'quotes' & $(touch owned); spaces"
    printed = run("run", *options, "--runs", runs, "--launcher", "shell", cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    commands = printed.stdout.splitlines()
    assert [shlex.split(command)[-1] for command in commands] == [str(runs)] * 2
    order = commands * 2
    random.shuffle(order)
    both = [subprocess.Popen(c, shell=True, stderr=subprocess.PIPE, text=True, cwd=tmp_path) for c in order]
    said = [process.communicate(timeout=280)[1] for process in both]
    assert [process.returncode for process in both] == [0] * 4, said
    assert content(runs) == expected
    assert not list(tmp_path.rglob("owned"))
    again = subprocess.run(commands[0], shell=True, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert "finished before, not run again" in again.stderr


def test_commands_and_json_cannot_share_the_output(
    toys: Path, options: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    from anyadbench.cli import main

    with pytest.raises(SystemExit) as ended:
        main([str(option) for option in ("run", *options, "--launcher", "shell", "--json")])
    assert ended.value.code == 2
    assert "give only one of them" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_twice_ends_at_once_and_leaves_a_cell_that_resumes(
    toys: Path, expected: dict[str, bytes], options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    monkeypatch.setenv("TOY_PAUSE", "60")
    process = start("run", *options, "--runs", runs)
    assert process.stderr is not None
    for line in process.stderr:
        if "toy statistics" in line:
            break
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None  # the step sleeps for a minute before the worker checks for a stop
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopping: writing checkpoints" in said
    assert "stopping at once" in said
    assert "2 cells: 2 interrupted" in said
    monkeypatch.setenv("TOY_PAUSE", "0")
    done = run("runs", "rerun", "--unfinished", "--runs", runs)
    assert done.returncode == 0, done.stderr
    assert content(runs) == expected


class Silent:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, done: int, total: int, label: str) -> None: ...

    def event(self, job: Job, event: dict[str, Any]) -> None: ...

    def watch_cells(self, labels: Sequence[str], slots: int) -> None: ...

    def cell_began(self, job: Job) -> None: ...

    def cell_ended(self, job: Job, done: int, total: int, *, finished: bool) -> None: ...


def jobs(runs: Path, device: str, count: int) -> list[Job]:
    policy = {"device": device, "threads": 1}
    return [planned(runs, cell_id=f"{i:064}", seed=i, policy=policy) for i in range(count)]


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The device of every cell, in the order in which the cells start; nothing is run."""
    seen: list[str | None] = []

    class Pinned(local.Supervisor):
        def run(self) -> Outcome:
            seen.append(self._gpu)
            time.sleep(0.05)
            return Outcome(self.job, "done")

    monkeypatch.setattr(local, "Supervisor", Pinned)
    return seen


def test_the_estimate_learns_which_cells_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, bool] = {}

    class Half(local.Supervisor):
        def run(self) -> Outcome:
            return Outcome(self.job, "failed" if self.job.seed % 2 else "done")

    class Watching(Silent):
        def cell_ended(self, job: Job, done: int, total: int, *, finished: bool) -> None:
            seen[job.seed] = finished

    monkeypatch.setattr(local, "Supervisor", Half)
    local.launch(jobs(tmp_path, "cpu", 4), LaunchOptions(Watching(), settings={"fork": "no"}))  # type: ignore[arg-type]
    assert seen == {0: True, 1: False, 2: True, 3: False}


def test_each_cell_is_pinned_to_a_device_of_its_own(
    pinned: list[str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5af, 7")
    ended = local.launch(jobs(tmp_path, "cuda", 6), LaunchOptions(Silent()))  # type: ignore[arg-type]
    assert [outcome.job.seed for outcome in ended] == list(range(6))
    assert sorted(map(str, pinned[:3])) == ["2", "7", "GPU-5af"]
    assert sorted(map(str, pinned)) == ["2", "2", "7", "7", "GPU-5af", "GPU-5af"]


def test_cells_on_the_cpu_are_pinned_to_no_device(
    pinned: list[str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    local.launch(jobs(tmp_path, "cpu", 2), LaunchOptions(Silent()))  # type: ignore[arg-type]
    assert pinned == [None, None]


@pytest.fixture
def asked(tmp_path: Path) -> Job:
    """A cell that has not been planned yet."""
    (tmp_path / "tiny.toml").write_text("the protocol")
    return planned(tmp_path / "runs", protocol_file=str(tmp_path / "tiny.toml"))


def execute(job: Job, monkeypatch: pytest.MonkeyPatch, then: Callable[[Job], None] = lambda job: None) -> list[str]:
    """Run a job through a launcher that only calls ``then``; return the messages."""

    def launch(todo: list[Job], options: LaunchOptions) -> list[Outcome]:
        for one in todo:
            then(one)
        return [Outcome(one, "done") for one in todo]

    monkeypatch.setattr(executing, "find_launcher", lambda name: launch)
    display = Silent()
    (outcome,) = executing.execute([job], "local", LaunchOptions(display))  # type: ignore[arg-type]
    assert outcome == Outcome(job, "done")
    return display.notes


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_a_second_command_changes_nothing_of_a_cell_that_is_being_run(
    asked: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert execute(asked, monkeypatch) == []
    asked.cell.update(state="running", pid=1)
    before = files(asked.cell.work)
    assert sorted(before) == ["cell.json", "plan.json", "protocol.toml"]
    more = replace(asked, keep_maps="all", time_limit=1.0)
    with asked.cell.lock():
        assert execute(more, monkeypatch) == []
        assert files(asked.cell.work) == before
        said = execute(more, monkeypatch, then=lambda job: job.cell.complete())
    assert len(said) == 1
    assert "run as another process planned it; its maps were kept with --keep-maps sample, not all" in said[0]
    assert files(asked.cell.final) == before
    assert not asked.cell.work.exists()


def test_a_cell_that_another_process_is_about_to_plan_is_waited_for(
    asked: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asked.cell.lock():
        second = threading.Thread(target=execute, args=(asked, monkeypatch))
        second.start()
        time.sleep(0.5)
        assert second.is_alive()
        assert not asked.cell.work.exists()
    second.join(10)
    assert not second.is_alive()
    assert Job.load(asked.cell.work) == asked
    assert (asked.cell.work / "protocol.toml").read_text() == "the protocol"


def test_a_worker_sees_its_own_device_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anyadbench.launch.supervisor import worker_environment

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    (job,) = jobs(tmp_path, "cuda", 1)
    assert worker_environment(job, "1")["CUDA_VISIBLE_DEVICES"] == "1"
    assert worker_environment(job, None)["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert worker_environment(job, None)["OMP_NUM_THREADS"] == "1"


def test_what_torch_compiles_is_kept_for_later_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anyadbench.launch import supervisor

    (job,) = jobs(tmp_path, "cpu", 1)
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("ANYADBENCH_CACHE", str(tmp_path / "cache"))
    assert supervisor.worker_environment(job, None)["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "cache" / "torch")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "own")
    assert supervisor.worker_environment(job, None)["TORCHINDUCTOR_CACHE_DIR"] == "own"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")

    def unknown() -> Path:
        raise UserError("no home folder")

    monkeypatch.setattr(supervisor, "cache_dir", unknown)
    assert "TORCHINDUCTOR_CACHE_DIR" not in supervisor.worker_environment(job, None)


def test_an_unknown_launcher_or_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Unknown launcher 'locall'. Did you mean 'local'"):
        find_launcher("locall")
    with pytest.raises(UserError, match="the launcher shell has no such setting. It takes none"):
        find_launcher("shell")(jobs(tmp_path, "cpu", 1), LaunchOptions(Silent(), 0, {"x": "1"}))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no such setting. Did you mean 'partition'"):
        slurm.launch(jobs(tmp_path, "cpu", 1), LaunchOptions(Silent(), 0, {"partitio": "1"}))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="--launcher-option time=soon is out of range; give a whole number"):
        slurm.launch(jobs(tmp_path, "cpu", 1), LaunchOptions(Silent(), 0, {"time": "soon"}))  # type: ignore[arg-type]


def test_without_slurm_the_launcher_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="the sentence about sbatch comes after the one about submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="needs SLURM's sbatch and srun"):
        slurm.launch(jobs(tmp_path, "cpu", 1), LaunchOptions(Silent()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"device": "auto", "precision": "auto"}, "--device auto checks this machine"),
        ({"device": "cuda", "precision": "auto"}, "--precision auto checks this machine's GPU"),
        ({"device": "cpu", "precision": "tf32"}, "tf32 needs a GPU"),
    ],
)
def test_what_only_this_machine_knows_is_not_guessed_for_others(arguments: dict[str, str], said: str) -> None:
    from anyadbench.engine.numerics import resolve_policy

    with pytest.raises(UserError, match=said):
        resolve_policy(**arguments, deterministic=False, threads=1, elsewhere=True)
    assert resolve_policy("cuda", "bfloat16", False, 1, elsewhere=True).device == "cuda"


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    reason = slurm_cluster.missing()
    if reason:
        pytest.skip(reason)
    with slurm_cluster.cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture
def on_slurm(queue: dict[str, str], toys: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    for name, value in queue.items():
        monkeypatch.setenv(name, value)
    return [
        "--launcher",
        "slurm",
        "--device",
        "cpu",
        "--launcher-option",
        "poll=1",
        "--launcher-option",
        "partition=main",
    ]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_slurm_gives_the_same_bytes(
    on_slurm: list[object], expected: dict[str, bytes], options: list[object], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    done = run("run", *options, *on_slurm, "--runs", runs)
    assert done.returncode == 0, done.stderr
    assert "submitted 2 cells to SLURM" in done.stderr
    assert content(runs) == expected
    assert not list(runs.glob(".slurm-*"))


@pytest.fixture
def running(
    on_slurm: list[object], options: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, subprocess.Popen[str]]:
    """A runs folder with a first checkpoint, and the command that waits for its tasks."""
    monkeypatch.setenv("TOY_PAUSE", "2")
    runs = tmp_path / "runs"
    process = start("run", *options, *on_slurm, "--runs", runs, "--checkpoint-every", "1s")
    wait_for(lambda: list((runs / "fits").glob("*/checkpoints/*.pt")))
    return runs, process


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cancelled_task_resumes_with_the_next_command(
    running: tuple[Path, subprocess.Popen[str]],
    on_slurm: list[object],
    expected: dict[str, bytes],
    options: list[object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs, process = running
    listed = subprocess.run(["squeue", "-h", "-r", "-o", "%i"], capture_output=True, text=True, check=True)
    subprocess.run(["scancel", min(listed.stdout.split())], check=True)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 130, said
    assert "1 done, 1 interrupted" in said
    assert len(cells(runs)) == 1
    monkeypatch.setenv("TOY_PAUSE", "0")
    done = run("run", *options, *on_slurm, "--runs", runs)
    assert done.returncode == 0, done.stderr
    assert "finished before, not run again" in done.stderr
    assert content(runs) == expected


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_preempted_task_resumes_by_itself(
    running: tuple[Path, subprocess.Popen[str]], expected: dict[str, bytes]
) -> None:
    runs, process = running
    urgent = ["sbatch", "-p", "urgent", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 2"]
    subprocess.run(urgent, check=True, capture_output=True)
    controller = Path(os.environ["SLURM_CONF"]).with_name("ctld.log")
    wait_for(lambda: "preempt" in controller.read_text())
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert content(runs) == expected
    histories = [
        json.loads((fit / "manifest.json").read_text())["history"] for fit in (runs / "fits").glob("toy-*[!l]")
    ]
    assert [history[-1]["step"] for history in histories] == [12, 12]
