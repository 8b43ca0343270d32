"""The kit from the command line and in pytest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import HELPERS, ROOT


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HELPERS), str(ROOT)])}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False)


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run("anyadbench", "plugin", "check", *arguments)


@pytest.mark.slow
def test_a_package_that_is_not_installed_is_checked_from_its_folder() -> None:
    done = check("broken_descriptors:GOOD", "--path", str(HELPERS), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"]
    assert {finding["status"] for finding in report["findings"]} == {"passed"}
    assert report["cost"]["memory_mb"] > 0
    assert all(finding["title"] and finding["why"] for finding in report["findings"])


@pytest.mark.slow
def test_a_failing_check_is_printed_with_its_reason_and_ends_with_code_1() -> None:
    done = check("broken_heavy:DESCRIPTOR")
    assert done.returncode == 1
    assert "RuntimeError: no such luck" in " ".join(done.stdout.split())
    assert "It was not run, since the check 'fits' failed" in " ".join(done.stdout.split())
    assert "broken_methods.py:43 in prepare: RuntimeError" in " ".join(done.stdout.split())
    assert "does not keep the contract. Checks: 2 failed, 12 skipped." in done.stdout
    assert "--traceback shows where its errors come from." in done.stdout and "Traceback (most" not in done.stdout
    whole = check("broken_heavy:DESCRIPTOR", "--traceback")
    assert "  | Traceback (most recent call last):" in whole.stdout and "in prepare" in whole.stdout


def test_a_method_that_cannot_be_run_is_skipped_with_the_reason(tmp_path: Path) -> None:
    done = check("broken_descriptors:UNAVAILABLE", "--path", str(HELPERS))
    assert done.returncode == 0, done.stderr
    said = "broken_descriptors:UNAVAILABLE: only its descriptor was checked. The method cannot be run: it needs a point"
    assert said in " ".join(done.stdout.split())
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\n@pytest.mark.anyad_method('broken_descriptors:UNAVAILABLE')\n"
        "def test_conformance(anyad_check):\n    anyad_check()\n"
    )
    tested = run("pytest", "-q", "-rs", "-p", "no:cacheprovider", "test_it.py", cwd=tmp_path)
    assert "1 passed, 13 skipped" in tested.stdout, tested.stdout
    assert "The method cannot be run: it needs a point cloud." in tested.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["anyadd"], "No installed plugin offers the method 'anyadd'. Did you mean"),
        (["pixelstats", "--expect", "cost"], "--expect 'cost' is not of the form ID=REASON"),
        (["pixelstats", "--path", "/no/such"], "--path /no/such: there is no such folder"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], sentence: str) -> None:
    done = check(*arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


TESTS = """
import pytest

@pytest.mark.anyad_method("broken_descriptors:KEEPSINTHEMODULE", expected={"spawned-process": "Known.", "fits": "No."})
def test_conformance(anyad_check):
    anyad_check()
"""


@pytest.mark.slow
def test_pytest_runs_one_test_per_check_and_holds_to_the_expected_failures(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    done = run("pytest", "-q", "-p", "no:cacheprovider", "test_it.py", cwd=tmp_path)
    assert "1 failed, 12 passed, 1 xfailed" in done.stdout, done.stdout
    assert "test_conformance[fits] - [XPASS(strict)] No." in done.stdout
    assert "anyadbench: broken_descriptors:KEEPSINTHEMODULE: Fitted in" in done.stdout


def test_pytest_asks_for_the_marker(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_conformance(anyad_check):\n    anyad_check()\n")
    done = run("pytest", "-q", "-p", "no:cacheprovider", "test_it.py", cwd=tmp_path)
    assert "test_conformance uses anyad_check; mark it with @pytest.mark.anyad_method(name)" in done.stdout


def test_the_pytest_plugin_imports_nothing_heavy() -> None:
    code = "import sys, anyadbench.testing.pytest_plugin; print('torch' in sys.modules or 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_page_lists_every_check_with_its_reason() -> None:
    from anyadbench.testing import CHECKS

    page = (ROOT / "docs" / "plugins" / "conformance.md").read_text()
    for check in CHECKS:
        assert f"| `{check.id}` | {check.title} | {check.why} |" in page
