"""Running whole cells in this process: as on the command line, without its subprocesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyadbench.results import CellResult

if TYPE_CHECKING:
    from anyadbench.cells.job import Job


@dataclass(frozen=True)
class Done:
    """A finished cell: its result, its folder, and its job."""

    result: CellResult
    folder: Path
    job: Job

    def rows(self, test: str) -> dict[str, Any]:
        """Return the rows of a test set by subset."""
        return {row.subset: row for row in self.result.rows if row.test == test}


def plan(
    protocol: str | Path,
    data: Mapping[str, Path],
    runs: Path,
    methods: Sequence[str] = ("pixelstats",),
    settings: Sequence[str] = (),
    budget: str = "tiny",
) -> list[Job]:
    """Plan one cell per method, by default with the smallest budget, and random weights."""
    from anyadbench.launch.plan import Request, make_plan
    from anyadbench.protocols.reader import read_protocol

    file = protocol_file(protocol)
    request = Request(
        methods=tuple(methods), protocol=read_protocol(file), runs=runs,
        data=tuple(f"{name}={path}" for name, path in data.items()), budget=budget, weights="random",
        settings=tuple(settings), device="cpu", threads=1,
    )  # fmt: skip
    return make_plan(request, lambda finished, total, label: None).jobs


def protocol_file(protocol: str | Path) -> Path:
    """Return the file of a protocol given by name or file."""
    from anyadbench.protocols import protocol_files

    return Path(protocol) if isinstance(protocol, Path) else protocol_files()[protocol]


def run(
    protocol: str | Path,
    data: Mapping[str, Path],
    runs: Path,
    methods: Sequence[str] = ("pixelstats",),
    settings: Sequence[str] = (),
    budget: str = "tiny",
) -> list[Done]:
    """Plan and run one cell per method, by default with the smallest budget, and random weights."""
    from anyadbench.cells.scored_cell import run_cell
    from anyadbench.engine.reporter import Reporter

    done = []
    for job in plan(protocol, data, runs, methods, settings, budget):
        if not job.cell.done:
            (job.save() / "protocol.toml").write_text(protocol_file(protocol).read_text())
            run_cell(job, Reporter())
        result = CellResult.model_validate_json((job.cell.final / "result.json").read_text())
        done.append(Done(result, job.cell.final, job))
    return done
