"""Two processes of tests, side by side in the memory of a small machine."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest
from dealt_out import is_heavy, scope_of
from places import HELPERS, ROOT
from process_memory import resident

LEAVING = """
import gc
from process_memory import give_back, resident

class Network:
    def __init__(self):
        self.blocks = [bytes([1]) * 40_000 if n % 2 else between.append(bytes(600)) for n in range(4000)]
        self.optimiser = self

between = []  # each of these small blocks keeps the heap from shrinking below it
gc.disable()
before = resident()
Network()
left = resident()
give_back(1 << 40)
unasked = resident()
give_back(1, 1 << 40)
not_more = resident()
give_back(1, 0)
print(before, left, unasked, not_more, resident())
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only Linux has the resident memory of a process in a file"
)
def test_what_a_test_left_behind_is_given_back_above_a_limit() -> None:
    assert resident() > 1 << 20
    done = subprocess.run([sys.executable, "-c", LEAVING], cwd=HELPERS, capture_output=True, text=True, check=True)
    before, left, unasked, not_more, after = (int(size) for size in done.stdout.split())
    assert left - before > 70 << 20
    assert min(unasked, not_more) - before > 70 << 20
    assert after - before < 20 << 20


def calls_of_two_steps() -> Iterator[str]:
    """Return the node ids of all tests that start a process of many gigabytes."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for part in ast.parse(path.read_text()).body:
            called = {ast.unparse(node.func) for node in ast.walk(part) if isinstance(node, ast.Call)}
            if isinstance(part, ast.FunctionDef) and "two_steps" in called:
                yield f"{path.relative_to(ROOT).as_posix()}::{part.name}[mmrad]"


def test_no_two_networks_of_their_authors_size_run_at_once() -> None:
    heavy = list(calls_of_two_steps())
    assert {name.split("/")[1] for name in heavy} == {"baselines", "rivals"}
    assert all(is_heavy(name) for name in heavy) and len({scope_of(name) for name in heavy}) == 1


def test_long_tests_of_a_shared_file_are_distributed_one_by_one() -> None:
    runs, resume = "tests/protocols/test_runs.py::test_a", "tests/cells/test_resume.py::test_a"
    assert scope_of(f"{runs}[one]") != scope_of(f"{runs}[two]")
    assert scope_of(f"{resume}[one]") == scope_of(f"{resume}[two]")
