"""Running small grids of the toy plugin through the command line, and comparing the results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "anyadbench"]


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=280,
        **options,
    )


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")


def cells(runs: Path) -> list[Path]:
    """The folders of finished cells, by name."""
    folders = (runs / "cells").iterdir() if (runs / "cells").is_dir() else []
    return sorted(path for path in folders if path.is_dir() and not path.name.endswith(".partial"))


def state(runs: Path, method: str) -> dict[str, Any]:
    (path,) = (runs / "cells").glob(f"{method}_*/cell.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def content(runs: Path) -> dict[str, bytes]:
    """Every byte of every finished cell that must not depend on how it was run."""
    found: dict[str, bytes] = {}
    for cell in cells(runs):
        for path in sorted(cell.rglob("*")):
            if path.is_file() and path.name not in (
                "cell.json",
                "manifest.json",
                "log.txt",
                "result.json",
                "plan.json",
            ):
                data = path.read_bytes()
                found[f"{cell.name}/{path.relative_to(cell)}"] = _untimed(data) if path.suffix == ".csv" else data
        result = json.loads((cell / "result.json").read_text())
        # The manifest also contains timings and memory.
        del result["timings"], result["memory"], result["files"]["manifest.json"]
        found[f"{cell.name}/result.json"] = json.dumps(result, sort_keys=True).encode()
    return found


def _untimed(table: bytes) -> bytes:
    """Return a CSV table without its column ``seconds``."""
    rows = [line.split(",") for line in table.decode().splitlines()]
    keep = [i for i, name in enumerate(rows[0]) if name != "seconds"]
    return "\n".join(",".join(row[i] for i in keep) for row in rows).encode()


def pids_below(folder: Path) -> list[int]:
    """Processes whose command line names ``folder``, or whose errors go below it (a forked worker's)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                named = str(folder).encode() in (entry / "cmdline").read_bytes()
                if named or os.readlink(entry / "fd" / "2").startswith(f"{folder}/"):
                    found.append(int(entry.name))
    return found


def wait_for(what: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.2)
