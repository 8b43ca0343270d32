"""Nothing goes on when the command that started it is gone: killed, or with its terminal closed."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from grid_fixture import COMMAND, run, wait_for
from packages import environment

from anyadbench.processes import LIFELINE

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")

MARK = "ANYADBENCH_TEST_TREE"
SECONDS = 90
"""Longer than a process may need to notice, to write a checkpoint and to end; most need one."""


def tree(mark: str) -> list[str]:
    """The command of every process that carries a mark in its environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"{MARK}={mark}\0".encode() in (entry / "environ").read_bytes():
                found.append(f"{entry.name} {(entry / 'cmdline').read_text()!r}")
        except (OSError, UnicodeDecodeError):
            continue
    return found


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    """A mark of the processes of one test, none of which is left at its end."""
    yield str(tmp_path)
    for line in tree(str(tmp_path)):
        os.kill(int(line.partition(" ")[0]), signal.SIGKILL)


LEADER = """if True:
    import os, signal, subprocess, sys, time
    def resend(number, frame):
        command.send_signal(signal.SIGHUP)
        time.sleep(0.1)
        os._exit(1)
    signal.signal(signal.SIGHUP, resend)
    command = subprocess.Popen(sys.argv[1:])
    command.wait()
"""
"""Leads a session as bash does: it passes the SIGHUP of a closed terminal on, and the kernel sends one when it ends."""

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(mark: str, toy_site: Path, tmp_path: Path) -> Start:
    """Starts a marked process that finds the toys and has a folder of temporary files of its own."""
    (tmp_path / "temporary").mkdir()

    def begin(*command: object, **more: str) -> subprocess.Popen[bytes]:
        own = environment(toy_site, **{MARK: mark, "TMPDIR": str(tmp_path / "temporary"), **more})
        quiet = subprocess.DEVNULL
        return subprocess.Popen([*map(str, command)], env=own, stdout=quiet, stderr=quiet)

    return begin


def kill(process: subprocess.Popen[bytes], mark: str) -> None:
    """Kill a process alone, and check that its descendants end, with their temporary files removed."""
    assert len(tree(mark)) > 1
    process.kill()
    process.wait()
    deadline = time.monotonic() + SECONDS
    while tree(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert tree(mark) == []
    assert os.listdir(Path(mark) / "temporary") == []


def newest(runs: Path) -> int:
    """The step of the last checkpoint; 0 without any."""
    steps = [int(path.stem.removeprefix("step-")) for path in runs.glob("fits/*/checkpoints/step-*.pt")]
    return max(steps, default=0)


def states(runs: Path) -> list[str]:
    return [str(json.loads(path.read_text())["state"]) for path in runs.glob("cells/*/cell.json")]


def test_a_cell_whose_command_is_killed_writes_a_checkpoint_and_ends(
    start: Start, mark: str, options: list[str], toys: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    grid = ["--method", "toy", *options, "--runs", runs]
    process = start(*COMMAND, "run", *grid, "--checkpoint-every", "1s", TOY_PAUSE="1")
    wait_for(lambda: newest(runs) > 0)
    before = newest(runs)
    kill(process, mark)
    assert newest(runs) > before
    assert states(runs) == ["interrupted"]
    done = run("run", *grid)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_cell_whose_command_is_killed_while_it_scores_ends(
    start: Start, mark: str, options: list[str], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    process = start(*COMMAND, "run", "--method", "toy", *options, "--runs", runs, TOY_SCORE_PAUSE="1")
    wait_for(lambda: list(runs.glob("fits/*/manifest.json")) and not list(runs.glob("fits/*.partial")))
    kill(process, mark)
    assert states(runs) == ["interrupted"]


@pytest.mark.slow
@pytest.mark.parametrize("do", ["deaf", "fork"])
def test_a_method_that_does_not_listen_is_killed_with_all_that_it_started(
    do: str, start: Start, mark: str, options: list[str], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    process = start(*COMMAND, "run", "--method", f"bad-{do}", *options, "--runs", runs, TOY_PAUSE="0.5")
    wait_for(lambda: list(runs.glob("fits/*/fit.json")))
    time.sleep(3)
    kill(process, mark)


@pytest.mark.slow
def test_a_cell_ends_with_the_launcher_at_the_other_end_of_its_lifeline(
    start: Start, mark: str, options: list[str], toys: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    grid = ["--method", "toy", *options, "--runs", str(runs), "--checkpoint-every", "1s"]
    printed = run("run", *grid, "--launcher", "shell").stdout.splitlines()
    (command,) = (line for line in printed if "toy_" in line)
    held = f"""if True:
        import os, shlex, subprocess
        reading, writing = os.pipe()
        command = [*shlex.split({command!r}), {LIFELINE!r}, str(reading)]
        subprocess.run(command, pass_fds=(reading,))
    """
    process = start(sys.executable, "-c", held, TOY_PAUSE="1")
    wait_for(lambda: newest(runs) > 0)
    before = newest(runs)
    kill(process, mark)
    assert newest(runs) > before
    assert states(runs) == ["interrupted"]


@pytest.mark.slow
@pytest.mark.parametrize("below", ["", LEADER], ids=["alone", "below a shell"])
def test_a_command_whose_terminal_is_closed_ends_with_its_cells(
    below: str, mark: str, toy_site: Path, options: list[str], tmp_path: Path
) -> None:
    """The command alone gets one SIGHUP; below a shell, a second one when that has ended."""
    runs = tmp_path / "runs"
    grid = ["--method", "toy", "--seed", "0", "--seed", "1", *options, "--runs", str(runs), "--checkpoint-every", "1s"]
    own = environment(toy_site, **{MARK: mark, "TOY_PAUSE": "1"})
    command = [*COMMAND, "run", *grid]
    started = [sys.executable, "-c", below, *command] if below else command
    child, terminal = pty.fork()
    if not child:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup, whose choice is inherited
        os.execve(started[0], started, own)
    os.set_blocking(terminal, False)

    def training() -> bool:
        with suppress(BlockingIOError):
            os.read(terminal, 1 << 16)
        return newest(runs) > 0

    wait_for(training)
    before = newest(runs)
    os.close(terminal)
    wait_for(lambda: os.waitpid(child, os.WNOHANG)[0], SECONDS)
    wait_for(lambda: not tree(mark), SECONDS)
    assert newest(runs) > before


def test_a_signal_that_nohup_ignores_stays_ignored() -> None:
    code = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from anyadbench.processes import stop_on_signals; stop_on_signals()\n"
        "print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, signal.getsignal(signal.SIGTERM).__name__)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["True", "stop"]


LISTENING = "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
"""Undoes that the tests themselves may run under ``nohup``."""


@pytest.mark.parametrize(
    ("sent", "asked"),
    [
        (("HUP", "HUP", "TERM", "INT"), "HUP INT"),
        (("USR2", "USR1", "USR2", "INT"), "USR2 INT"),
        (("INT", "HUP", "TERM", "INT"), "INT INT"),
    ],
)
def test_only_ctrl_c_asks_a_second_time(sent: tuple[str, ...], asked: str) -> None:
    code = (
        "import signal\nfrom anyadbench.processes import stop_on_signals\n"
        f"{LISTENING}stop_on_signals()\n"
        f"for name in {sent}:\n"
        "    try:\n        signal.raise_signal(getattr(signal, f'SIG{name}'))\n"
        "    except KeyboardInterrupt:\n        print(name)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert " ".join(said.split()) == asked


def test_a_plugin_that_is_stopped_twice_is_named_once() -> None:
    code = (
        "import signal, sys\nfrom anyadbench.plugins.guard import guarded\n"
        "from anyadbench.processes import stop_on_signals\n"
        f"{LISTENING}stop_on_signals()\n"
        "for name in ('HUP', 'HUP', 'TERM', 'INT'):\n"
        "    try:\n        guarded(lambda: signal.raise_signal(getattr(signal, f'SIG{name}')), name)\n"
        "    except KeyboardInterrupt as stopped:\n        print(stopped, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["during HUP", "during INT"]


def test_the_processes_that_write_a_phantom_end_with_the_command(start: Start, mark: str, tmp_path: Path) -> None:
    script = tmp_path / "make.py"
    script.write_text(
        "from pathlib import Path\nfrom anyadbench.data.phantom import PhantomSpec, generate\n"
        "if __name__ == '__main__':\n"
        f"    generate(Path({str(tmp_path / 'tree')!r}), PhantomSpec('big', subjects=500), workers=2)\n"
    )
    process = start(sys.executable, script)
    wait_for(lambda: list((tmp_path / "tree").rglob("*.tmp")) or list((tmp_path / "tree").rglob("*.nii.gz")))
    kill(process, mark)


def test_the_processes_of_the_kit_end_with_the_command(start: Start, mark: str, tmp_path: Path) -> None:
    process = start(*COMMAND, "plugin", "check", "bad-hang")
    wait_for(lambda: any("conformance.worker" in line for line in tree(mark)))
    time.sleep(1)
    kill(process, mark)
