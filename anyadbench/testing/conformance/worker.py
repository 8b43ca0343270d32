"""The processes of the kit: ``python -m anyadbench.testing.conformance.worker REQUEST LIFELINE``.

The request is a JSON file in a temporary folder: the task, the method, and the paths of the cell, the changed store
and the findings. Findings are appended to a file line by line, so that those before a crash are kept.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyadbench.plugins.blame import whole
from anyadbench.processes import end_with_parent

if TYPE_CHECKING:
    from anyadbench.engine.protocol_data import ProtocolData
    from anyadbench.testing.conformance.bench import Bench

Emit = Callable[..., None]


def main(arguments: list[str]) -> int:
    """Run the task of the request file."""
    path = Path(arguments[0])
    end_with_parent(int(arguments[1]), grace=0, scratch=str(path.parent))
    request = json.loads(path.read_text(encoding="utf-8"))

    def emit(**finding: Any) -> None:
        with open(request["out"], "a", encoding="utf-8") as handle:
            handle.write(json.dumps(finding) + "\n")

    if request["task"] == "check":
        _check(request, emit)
    else:
        _spawned(request, emit)
    return 0


def _bench(request: dict[str, Any]) -> tuple[Bench, ProtocolData]:
    """Return the bench, and the store's slices."""
    from anyadbench.engine.numerics import apply_policy
    from anyadbench.testing.conformance.bench import POLICY, Bench
    from anyadbench.testing.conformance.guard import Guard
    from anyadbench.testing.conformance.locate import locate
    from anyadbench.testing.conformance.samples import data_of, embedded, tree

    apply_policy(POLICY)
    store = embedded()
    cell = Path(request["cell"])
    guard = Guard(cell, [tree(), store.path, Path(request["changed"])])
    return Bench(locate(request["target"]), guard, cell), data_of(store)


def _check(request: dict[str, Any], emit: Emit) -> None:
    from anyadbench.cells.manifest import peak_memory
    from anyadbench.testing.conformance.samples import data_of, rewritten

    bench, data = _bench(request)
    changed = data_of(rewritten(data.stores["phantom"], Path(request["changed"])))
    cost = run_checks(bench, data, changed, emit)
    if cost:
        emit(cost=cost | {"memory_mb": peak_memory("cpu")["host_mb"]})


def run_checks(bench: Bench, data: ProtocolData, changed: ProtocolData, emit: Emit) -> dict[str, float]:
    """Fit the method and run every check that needs no other process; return its cost, empty if fitting fails.

    Args:
        bench: The method.
        data: The kit's slices.
        changed: The same slices with everything rewritten that fitting must not see.
        emit: Called with ``check``, ``status`` and ``reason`` of each finding.
    """
    import numpy as np

    from anyadbench.testing.conformance.checks import RUNNING, Fitted
    from anyadbench.testing.conformance.samples import scored_values

    values = scored_values(data)
    try:
        bench.import_code()
        bench.build(data.stores["phantom"].shape)  # imports some libraries, which is not a cost of the method
        started, began = time.process_time(), time.perf_counter()
        method = bench.fit(data)
        fit_seconds = time.perf_counter() - began
        state = bench.save(method, "state")
    except Exception as error:  # a method may raise anything
        emit(check="fits", status="failed", reason=bench.blame(error), traceback=whole(error))
        return {}
    emit(check="fits", status="passed", reason="")
    fitted = Fitted(bench, data, changed, method, state, values)
    for name, check in RUNNING.items():
        emit(check=name, **_outcome(check, fitted))
    cost = {"fit_seconds": fit_seconds, "score_ms": 0.0, "total_seconds": time.process_time() - started}
    scoring = time.perf_counter()
    try:
        scored = fitted.score()
    except Exception:  # maps-finite has reported why
        return cost
    cost["score_ms"] = (time.perf_counter() - scoring) / len(values) * 1e3
    arrays = {"maps": scored.maps} if scored.images is None else {"maps": scored.maps, "images": scored.images}
    np.savez(bench.cell / "expected.npz", **arrays)  # type: ignore[arg-type]
    return cost


def _spawned(request: dict[str, Any], emit: Emit) -> None:
    import numpy as np

    from anyadbench.testing.conformance.bench import Scored
    from anyadbench.testing.conformance.samples import PROTOCOL, scored_values

    bench, data = _bench(request)
    values = scored_values(data)
    with np.load(bench.cell / "expected.npz", allow_pickle=False) as file:
        expected = Scored(file["maps"], file.get("images"))
    try:
        method = bench.load(bench.cell / "state.safetensors", data.stores["phantom"].shape)
        found, again = (bench.score(method, values, PROTOCOL.sequences) for _ in range(2))
    except Exception as error:  # a method may raise anything
        reason = f"In a new process it fails: {bench.blame(error)}"
        emit(check="spawned-process", status="failed", reason=reason, traceback=whole(error))
        return
    if expected.same(found):
        emit(check="spawned-process", status="passed", reason="")
    elif not found.same(again):
        reason = "Scoring is not deterministic (same-seed), so maps of a new process do not show what it kept."
        emit(check="spawned-process", status="skipped", reason=reason)
    else:
        reason = "In a new process with the stored state it gives different maps; does a module keep state?"
        emit(check="spawned-process", status="failed", reason=reason)


def _outcome(check: Callable[[Any], None], fitted: Any) -> dict[str, str]:
    from anyadbench.testing.conformance.bench import Broken, Skipped, Warned

    try:
        check(fitted)
    except Broken as error:
        cause = "" if error.__cause__ is None else whole(error.__cause__)
        return {"status": "failed", "reason": str(error), "traceback": cause}
    except Warned as error:
        return {"status": "warned", "reason": str(error)}
    except Skipped as error:
        return {"status": "skipped", "reason": str(error)}
    except Exception as error:  # a method may raise anything
        return {"status": "failed", "reason": f"It fails: {fitted.bench.blame(error)}", "traceback": whole(error)}
    return {"status": "passed", "reason": ""}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
