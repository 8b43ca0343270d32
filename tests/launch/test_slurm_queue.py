"""SLURM that refuses, fails, or takes little: tasks in the queue keep their files or are cancelled, and it is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from grid_fixture import wait_for
from job_fixture import planned

from anyadbench.cells.job import Outcome
from anyadbench.errors import UserError
from anyadbench.launch.launchers import LaunchOptions, slurm, slurm_queue
from anyadbench.launch.launchers.slurm_queue import Limits, fix_of, read_limits, room, why_refused

COMMANDS = {
    "squeue": 'case "$*" in *--user*) cat "$FAKE/mine" 2>/dev/null;; *) cat "$FAKE/queue" 2>/dev/null;; esac\n'
    '[ ! -e "$FAKE/lost" ] || { echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1; }',
    "scancel": 'echo "$@" >> "$FAKE/cancelled"; rm -f "$FAKE/queue"; [ ! -e "$FAKE/lost" ]',
    "scontrol": 'cat "$FAKE/config" 2>/dev/null',
    "sacctmgr": 'case "$*" in *assoc*) cat "$FAKE/assoc" 2>/dev/null;; *) cat "$FAKE/qos" 2>/dev/null;; esac; true',
}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the answers of SLURM's commands."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in COMMANDS.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("FAKE", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    for name, value in (("RETRY", 0.0), ("TRIES", 2)):
        monkeypatch.setattr(slurm_queue, name, value)
    monkeypatch.setattr(slurm, "ENDING", 2.0)
    return tmp_path


class Refused(Exception):
    """As submitit's for a job that sbatch refuses."""


class Task:
    job_id = ""


class Executor:
    """Takes arrays of at most ``most`` tasks and refuses them after ``arrays``; every task is listed as ``state``."""

    def __init__(self, fake: Path, reason: str, most: int = 1000, arrays: int = 1000, state: str = "PENDING") -> None:
        self.fake, self.reason, self.most, self.arrays, self.state = fake, reason, most, arrays, state
        self.sizes: list[int] = []
        self.tasks: list[Task] = []

    @contextmanager
    def batch(self) -> Iterator[None]:
        self.tasks = []
        yield
        if len(self.tasks) > self.most or len(self.sizes) >= self.arrays:
            raise Refused(f"sbatch: error: {self.reason}\nsbatch: error: Batch job submission failed")
        self.sizes.append(len(self.tasks))
        number = 776 + len(self.sizes)
        (folder,) = (self.fake / "runs").glob(".slurm-*")
        with open(self.fake / "queue", "a") as queue:
            for i, task in enumerate(self.tasks):
                task.job_id = f"{number}_{i}"
                queue.write(f"{task.job_id} {self.state}\n")
                (folder / f"{task.job_id}_submitted.pkl").touch()
        with open(self.fake / "mine", "a") as mine:
            mine.write("".join(f"{task.job_id}\n" for task in self.tasks))

    def submit(self, task: slurm.CellTask) -> Task:
        self.tasks.append(Task())
        return self.tasks[-1]


class Notes:
    """Keeps messages; the first ``presses`` times that progress is shown, the user presses Ctrl-C."""

    def __init__(self, presses: int = 0) -> None:
        self.notes: list[str] = []
        self.presses = presses

    def note(self, text: str) -> None:
        self.notes.append(text)

    def progress(self, done: int, total: int, label: str) -> None:
        if self.presses:
            self.presses -= 1
            signal.raise_signal(signal.SIGINT)


def launch(
    executor: Executor, monkeypatch: pytest.MonkeyPatch, count: int = 5, presses: int = 0, **settings: str
) -> tuple[list[Outcome], list[str]]:
    jobs = [planned(executor.fake / "runs", cell_id=f"{i:064}", seed=i, retries=0) for i in range(count)]
    for job in jobs:
        job.save()
    monkeypatch.setattr(slurm, "_executor", lambda *arguments: (executor, (Refused,)))
    notes = Notes(presses)
    settings = {"poll": "0.05", **settings}
    return slurm.launch(jobs, LaunchOptions(notes, 0, settings)), notes.notes  # type: ignore[arg-type]


def folders(fake: Path) -> list[Path]:
    return list((fake / "runs").glob(".slurm-*"))


def test_a_job_that_is_refused_at_once_is_a_sentence_with_a_fix(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = Executor(fake, "invalid partition specified: gpu", arrays=0)
    with pytest.raises(UserError) as raised:
        launch(executor, monkeypatch)
    assert str(raised.value) == (
        "SLURM refused the job: invalid partition specified: gpu; choose a partition that "
        "'sinfo -s' lists with --launcher-option partition=NAME."
    )
    assert not folders(fake)


def test_what_was_taken_is_cancelled_if_the_rest_is_refused(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "ARRAY", 2)
    with pytest.raises(UserError) as raised:
        launch(Executor(fake, "QOSMaxSubmitJobPerUserLimit", arrays=2), monkeypatch)
    assert str(raised.value) == (
        "SLURM refused 1 of 5 cells (QOSMaxSubmitJobPerUserLimit), and cancelled job 777, "
        "778, which it had taken; wait until other jobs of yours have ended, or give the number of tasks that SLURM "
        "takes at once with --launcher-option max_submit=N, and run the same command again."
    )
    assert (fake / "cancelled").read_text() == "777 778\n"
    assert not folders(fake)


def test_tasks_that_cannot_be_cancelled_keep_their_files(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "ARRAY", 4)
    executor = Executor(fake, "Invalid account", arrays=1)
    monkeypatch.setattr(slurm_queue, "cancel", lambda numbers: False)
    with pytest.raises(UserError, match=r"the tasks of job 777 go on and keep their files in \S+/\.slurm-\S+; choose "):
        launch(executor, monkeypatch)
    (folder,) = folders(fake)
    assert len(list(folder.glob("777_*_submitted.pkl"))) == 4


def test_tasks_that_take_long_to_end_keep_their_files(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "ARRAY", 4)
    monkeypatch.setattr(slurm, "ENDING", 0.2)
    monkeypatch.setattr(slurm_queue, "cancel", lambda numbers: True)
    with pytest.raises(UserError, match="cancelled job 777, which it had taken and whose files stay in .* until"):
        launch(Executor(fake, "Invalid account", arrays=1), monkeypatch)
    assert folders(fake)


def test_a_queue_that_cannot_be_read_leaves_the_tasks_their_files(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fake / "lost").touch()
    with pytest.raises(UserError) as raised:
        launch(Executor(fake, ""), monkeypatch)
    (folder,) = folders(fake)
    assert str(raised.value) == (
        "squeue fails (slurm_load_jobs error: Unable to contact slurm controller); the tasks of job 777 go on and keep "
        f"their files in {folder}; run the same command again when SLURM answers."
    )


def test_files_of_tasks_that_have_ended_since_are_removed(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fake / "lost").touch()
    with pytest.raises(UserError):
        launch(Executor(fake, ""), monkeypatch)
    with pytest.raises(UserError):  # the queue still cannot be read: nothing is removed
        launch(Executor(fake, "Invalid account", arrays=0), monkeypatch)
    assert len(folders(fake)) == 1
    (fake / "lost").unlink()
    (fake / "queue").write_text("777_0 RUNNING\n777_1 COMPLETED\n")
    with pytest.raises(UserError):
        launch(Executor(fake, "Invalid account", arrays=0), monkeypatch)
    assert len(folders(fake)) == 1
    (fake / "queue").write_text("777_0 COMPLETED\n")
    with pytest.raises(UserError):
        launch(Executor(fake, "Invalid account", arrays=0), monkeypatch)
    assert not folders(fake)


def test_ctrl_c_cancels_the_tasks_and_drops_the_rest(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes, notes = launch(Executor(fake, ""), monkeypatch, presses=1, max_submit="2")
    assert [outcome.status for outcome in outcomes] == ["interrupted"] * 5
    assert outcomes[-1].error == "Not started; the same command runs it."
    assert "stopping: cancelling the tasks, which write checkpoints (Ctrl-C again: leave them)" in notes
    assert not folders(fake)


def test_ctrl_c_again_leaves_the_tasks_with_their_files(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_queue, "cancel", lambda numbers: False)
    with pytest.raises(KeyboardInterrupt) as raised:
        launch(Executor(fake, ""), monkeypatch, presses=2)
    (folder,) = folders(fake)
    assert str(raised.value) == f"at once; the tasks of job 777 go on and keep their files in {folder}"


def test_an_array_that_is_too_large_is_halved_until_slurm_takes_it(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = Executor(fake, "Invalid job array specification", most=3, state="COMPLETED")
    _, notes = launch(executor, monkeypatch, count=10)
    assert executor.sizes == [2] * 5
    assert notes[:2] == ["submitted 2 cells to SLURM as job 777", "submitted 2 cells to SLURM as job 778"]


def test_arrays_are_as_large_as_slurm_says(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fake / "config").write_text("MaxArraySize            = 4\nMaxJobCount             = 10000\n")
    executor = Executor(fake, "", state="COMPLETED")
    launch(executor, monkeypatch, count=10)
    assert executor.sizes == [4, 4, 2]


@pytest.mark.parametrize("limit", ["option", "association", "qos", "tried"])
def test_cells_beyond_the_limit_of_a_user_wait(limit: str, fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each array ends, and leaves the queue, after it was seen once."""
    settings = {"max_submit": "2"} if limit == "option" else {}
    if limit == "association":
        (fake / "assoc").write_text("lab|normal|2|\n")
    if limit == "qos":
        (fake / "assoc").write_text("lab|fast||\n")
        (fake / "qos").write_text("normal|1|\nfast|2|9\n")
    executor = Executor(fake, "AssocMaxSubmitJobLimit", most=2 if limit == "tried" else 1000)
    listed = slurm_queue.task_states

    def once(numbers: list[str], tries: int = 0) -> dict[str, str]:
        found = listed(numbers, tries)
        (fake / "queue").write_text("")
        (fake / "mine").write_text("")
        return found

    monkeypatch.setattr(slurm_queue, "task_states", once)
    outcomes, notes = launch(executor, monkeypatch, **settings)
    assert executor.sizes == [2, 2, 1]
    assert len(outcomes) == 5
    assert "3 cells wait until SLURM takes more jobs of yours" in notes


def test_limits_that_slurm_does_not_say_are_none(fake: Path) -> None:
    assert read_limits({}) == Limits()
    (fake / "config").write_text("MaxArraySize = 11\nMaxJobCount = 6\n")
    (fake / "assoc").write_text("lab|normal|7|5\nother|normal|1|\n")
    assert read_limits({"account": "lab"}) == Limits(11, 5, 6)
    assert read_limits({"account": "lab", "max_submit": 3}) == Limits(11, 3, 6)
    (fake / "mine").write_text("1_0\n1_1\n")
    (fake / "queue").write_text("1_0\n1_1\n2\n")
    assert room(Limits(), 9) == 9
    assert room(Limits(None, 5, None), 9) == 3
    assert room(Limits(None, 1, None), 9) == 0
    assert room(Limits(None, None, 6), 9) == 2


@pytest.mark.parametrize("where", ["association", "qos", "refused"])
def test_a_limit_of_none_is_a_sentence_with_a_fix(where: str, fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fake / "assoc").write_text(
        {"association": "lab|normal|0|\n", "qos": "lab|\n", "refused": "lab||0|\na|||9\n"}[where]
    )
    (fake / "qos").write_text("normal|0|\n" if where == "qos" else "")
    executor = Executor(fake, "AssocMaxSubmitJobLimit", arrays=0)
    waits = SimpleNamespace(sleep=lambda seconds: pytest.fail("it waits for nothing"))
    monkeypatch.setattr(slurm, "time", waits)
    with pytest.raises(UserError) as raised:
        launch(executor, monkeypatch, count=1)
    assert str(raised.value) == (
        "SLURM takes no job of yours, since the limit of submitted jobs (MaxSubmitJobs or GrpSubmitJobs) of your "
        "association or QOS is 0; choose another one that 'sacctmgr show assoc user=$USER' lists with "
        "--launcher-option account=NAME or qos=NAME."
    )
    assert not folders(fake)


def test_a_closed_association_beside_an_open_one_does_not_count(fake: Path) -> None:
    (fake / "assoc").write_text("old|slow|0|\nlab|fast|7|\n")
    (fake / "qos").write_text("slow|1|\nfast|6|\n")
    assert read_limits({}).submitted == 6
    assert read_limits({"account": "old"}).submitted == 0
    assert read_limits({"account": "lab", "qos": "slow"}).submitted == 1


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("AssocMaxSubmitJobLimit", "max_submit=N"),
        ("Slurm temporarily unable to accept job", "max_submit=N"),
        ("Invalid qos specification", "qos=NAME"),
        ("Invalid account or account/partition combination specified", "partition=NAME"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "time=MINUTES"),
        ("Invalid feature specification", "constraint=NAME"),
        ("Requested node configuration is not available", "gpus=N"),
        ("Memory specification can not be satisfied", "mem_gb=N"),
        ("Unable to contact slurm controller (connect failure)", "'sinfo' answers"),
        ("something else", "to what this cluster allows"),
    ],
)
def test_every_refusal_names_a_fix(reason: str, fix: str) -> None:
    assert fix in fix_of(reason)
    general = "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit)"
    assert why_refused(Exception(f"Command 'sbatch x' failed\nsbatch: error: {reason}.\n{general}\n")) == reason
    assert why_refused(Exception(f"sbatch: error: Batch job submission failed: {reason}")) == reason
    assert why_refused(Exception(reason)) == reason


def test_a_task_searches_no_modules_in_its_folder(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'anyadbench[slurm]'")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sbatch", "srun"):
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        job = planned(tmp_path, policy={"threads": 1, "device": "cpu"})
        executor, _ = slurm._executor([job], {"time": 5}, tmp_path / "f", LaunchOptions(Notes()))  # type: ignore[arg-type]
    assert " -P -u -m submitit.core._submit" in executor._submitit_command_str


def test_a_task_that_slurm_warned_with_its_command_lets_the_command_write_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helpers = SimpleNamespace(DelayedSubmission=lambda task: task)
    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace(helpers=helpers))
    monkeypatch.setitem(sys.modules, "submitit.helpers", helpers)
    ready = tmp_path / "ready"
    code = (
        "import pathlib, time\nfrom anyadbench.processes import stop_on_signals\nstop_on_signals()\n"
        f"try:\n    pathlib.Path({str(ready)!r}).touch()\n    time.sleep(60)\n"
        "except KeyboardInterrupt:\n    time.sleep(0.5)\n"
    )
    task = slurm.CellTask([sys.executable, "-c", code])
    task._process = process = subprocess.Popen(task.command)
    wait_for(ready.exists)
    process.send_signal(signal.SIGUSR2)  # to every process of the task
    again = task.checkpoint()
    assert process.returncode == 0
    assert again.command == task.command
