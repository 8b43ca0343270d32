"""Running the kit: processes for the method itself, and one for the import of its descriptor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from anyadbench.files import CACHE, make_folder
from anyadbench.paths import cache_dir
from anyadbench.processes import python_command, python_path
from anyadbench.testing.conformance.locate import import_target, locate
from anyadbench.testing.conformance.model import (
    CHECKS,
    Finding,
    Limits,
    Report,
    apply_expected,
    check_expected,
)

HEAVY = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "pandas",
    "scipy",
    "sklearn",
    "cv2",
    "matplotlib",
    "tensorflow",
    "jax",
)
"""Libraries that no descriptor may import."""

_IMPORT = """
import importlib, json, operator, sys, time
import anyadbench.api, anyadbench.methods.descriptor, anyadbench.plugins, anyadbench.processes
anyadbench.processes.end_with_parent(int(sys.argv.pop()), grace=0)
module, _, name = sys.argv[1].partition(":")
before, started = set(sys.modules), time.process_time()
operator.attrgetter(name)(importlib.import_module(module))  # the name may have dots, as in an entry point
seconds = time.process_time() - started
heavy = [name for name in sys.argv[2].split(",") if name in set(sys.modules) - before]
print("\\n" + json.dumps({"seconds": seconds, "heavy": heavy}))
"""


def check_method(
    target: str,
    *,
    expected: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    paths: Sequence[str | Path] = (),
) -> Report:
    """Run every check on a method; only the method's descriptor is imported into this process.

    Of a method whose descriptor says that it cannot be run, only the descriptor is checked.

    Args:
        target: Name of an installed method, or ``package.module:OBJECT`` of a descriptor that can be imported.
        expected: Reason by id of each check that the method is known to fail.
        limits: What it may cost; a minute by default.
        paths: Folders to import from before all others.

    Raises:
        UserError: If there is no such method, or ``expected`` names an unknown check or gives no reason.
    """
    import tempfile

    limits, began = limits or Limits(), time.perf_counter()
    check_expected(expected or {})
    search = [str(Path(path).resolve()) for path in paths]
    sys.path[:0] = search
    try:
        unavailable = locate(target).unavailable
        found: dict[str, Finding] = {"descriptor-light": descriptor_light(import_target(target), limits)}
        cost: dict[str, float] = {}
        if not unavailable:
            make_folder(cache_dir(), CACHE)  # for the phantom: else every check of the method would fail
            with tempfile.TemporaryDirectory(prefix="anyadbench-check-") as folder:
                cost = _run_method(target, Path(folder), limits, found)
    finally:
        del sys.path[: len(search)]
    if cost:
        cost["kit_seconds"] = time.perf_counter() - began
        found["cost"] = _within(cost, limits)
    left = Finding("", "skipped", "It was not run, since the check 'fits' failed.")
    if unavailable:
        left = Finding("", "unavailable", f"The method cannot be run: {unavailable}.")
    findings = [found.get(check.id, Finding(check.id, left.status, left.reason)) for check in CHECKS]
    return Report(target, apply_expected(findings, expected or {}), cost)


def descriptor_light(target: str, limits: Limits) -> Finding:
    """Import ``package.module:OBJECT`` in a new process; check how long that takes and what else it imports."""
    done = _python(["-c", _IMPORT, target, ",".join(HEAVY)], _environment(), limits.patience)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return Finding("descriptor-light", "failed", f"It cannot be imported in a new process: {last}")
    seen = json.loads(done.stdout.splitlines()[-1])
    if seen["heavy"]:
        text = f"Importing it imports {', '.join(seen['heavy'])}; import them in the factory's module."
        return Finding("descriptor-light", "failed", text)
    if seen["seconds"] > limits.import_seconds:
        text = f"Importing it takes {seen['seconds']:.2f} s of processor time; the limit is {limits.import_seconds:g}."
        return Finding("descriptor-light", "failed", text)
    return Finding("descriptor-light", "passed")


def _run_method(target: str, folder: Path, limits: Limits, found: dict[str, Finding]) -> dict[str, float]:
    """Run both processes of the method; add their findings, and return the cost."""
    cell, elsewhere = folder / "cell", folder / "elsewhere"
    (cell / "tmp").mkdir(parents=True)
    elsewhere.mkdir()
    request = {"target": target, "cell": str(cell), "changed": str(folder / "changed"), "out": str(folder / "out")}
    cost: dict[str, float] = {}
    for task in ("check", "spawned"):
        if task == "spawned" and not (cell / "expected.npz").is_file():
            break
        path = folder / f"{task}.json"
        path.write_text(json.dumps({**request, "task": task}), encoding="utf-8")
        environment = {
            **_environment(), "HOME": str(elsewhere), "TMPDIR": str(cell / "tmp"), "MPLCONFIGDIR": str(cell / "tmp"),
            "TORCHINDUCTOR_CACHE_DIR": str(cell / "tmp"),  # torch creates it when some of its parts are imported
            # Python hashes text differently in every process unless a seed is set.
            "PYTHONHASHSEED": "0" if task == "check" else "1",
        }  # fmt: skip
        command = ["-m", "anyadbench.testing.conformance.worker", str(path)]
        done = _python(command, environment, limits.patience, elsewhere)
        cost |= _read(folder / "out", found)
        if done.returncode:
            _died(done, task, limits, found)
            break
    return cost


def _read(path: Path, found: dict[str, Finding]) -> dict[str, float]:
    cost: dict[str, float] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        record = json.loads(line)
        if "cost" in record:
            cost = record["cost"]
        else:
            found[record["check"]] = Finding(**record)
    return cost


def _died(done: subprocess.CompletedProcess[str], task: str, limits: Limits, found: dict[str, Finding]) -> None:
    """Record why each check that a lost process left open has no result."""
    code = done.returncode
    if code == -signal.SIGKILL and not done.stderr.strip():
        how = f"was ended after {limits.patience:g} s, or ran out of memory"
    elif code < 0:
        how = f"was ended by signal {signal.Signals(-code).name}"
    else:
        how = f"ended with exit code {code}: {(done.stderr.strip().splitlines() or ['no output'])[-1]}"
    owed = ["spawned-process"] if task == "spawned" else [check.id for check in CHECKS]
    for name in owed:
        found.setdefault(name, Finding(name, "failed", f"Its process {how}"))


def _within(cost: Mapping[str, float], limits: Limits) -> Finding:
    text = (
        f"fitted in {cost['fit_seconds']:.1f} s, scored in {cost['score_ms']:.0f} ms a slice, "
        f"{cost['kit_seconds']:.1f} s for the whole kit ({cost['total_seconds']:.1f} s of processor time with the "
        f"method), {cost['memory_mb']:.0f} MB"
    )
    if cost["total_seconds"] > limits.seconds:
        return Finding(
            "cost", "failed", f"More than {limits.seconds:g} s of processor time: {text}; lower the budget 'tiny'."
        )
    if cost["memory_mb"] > limits.memory_mb:
        return Finding("cost", "failed", f"More than {limits.memory_mb:g} MB: {text}; lower the budget 'tiny'.")
    return Finding("cost", "passed", f"{text[0].upper()}{text[1:]}.")


def _environment() -> dict[str, str]:
    """Return the environment of the kit's processes: this process's path and cache, and one thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {
        **os.environ, **threads, **python_path(), "PYTHONHASHSEED": "0", "ANYADBENCH_CACHE": str(cache_dir().resolve()),
    }  # fmt: skip


def _python(
    arguments: list[str], environment: Mapping[str, str], patience: float, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python in a session of its own, and end whatever it started when it ends, or when this process is gone."""
    watched, held = os.pipe()
    command = python_command(*arguments, str(watched))
    options: dict[str, Any] = {"text": True, "errors": "replace", "stdin": subprocess.DEVNULL, "pass_fds": (watched,)}
    options |= dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    with os.fdopen(held, "wb"), os.fdopen(watched, "rb"):
        process = subprocess.Popen(command, env=environment, cwd=cwd, start_new_session=True, **options)
        try:
            out, err = process.communicate(timeout=patience)
            return subprocess.CompletedProcess(command, process.returncode, out, err)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, -signal.SIGKILL, "", "")
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
