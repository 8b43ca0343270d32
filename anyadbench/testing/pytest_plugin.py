"""The conformance kit in pytest: one test per check.

Installed with anyadbench, so a plugin's test is::

    @pytest.mark.anyad_method("mine")
    def test_conformance(anyad_check):
        anyad_check()

The marker takes the arguments of ``anyadbench.testing.check_method``. A check in its expected-failure map is a strict
expected failure: it must fail. Only pytest is imported before a test asks for the kit.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from anyadbench.testing import Report

MARK = "anyad_method"
_REPORTS: pytest.StashKey[dict[str, Report]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", f"{MARK}(name, expected={{}}, limits=..., paths=()): run anyadbench's conformance kit on a method"
    )
    config.stash[_REPORTS] = {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test per check."""
    if "anyad_check" not in metafunc.fixturenames:
        return
    from anyadbench.testing import CHECKS

    marker = metafunc.definition.get_closest_marker(MARK)
    if marker is None or not marker.args:
        raise pytest.UsageError(
            f"{metafunc.function.__name__} uses anyad_check; mark it with @pytest.mark.{MARK}(name)"
        )
    expected = marker.kwargs.get("expected") or {}
    parameters = [
        pytest.param(check.id, marks=[pytest.mark.xfail(reason=expected[check.id], strict=True)])
        if check.id in expected
        else check.id
        for check in CHECKS
    ]
    metafunc.parametrize("anyad_check", parameters, indirect=True)


@pytest.fixture
def anyad_check(request: pytest.FixtureRequest) -> Callable[[], None]:
    """A call that passes, or fails or skips the test with the reason that the kit gives."""
    report = _report(request)

    def demand() -> None:
        finding = report[request.param]
        if finding.status == "unavailable":
            pytest.skip(finding.reason)
        if finding.status == "warned":
            warnings.warn(finding.reason, stacklevel=2)
        if finding.status in ("failed", "expected", "skipped"):
            pytest.fail(finding.reason, pytrace=False)

    return demand


def _report(request: pytest.FixtureRequest) -> Report:
    """Run the kit once per method and session."""
    from anyadbench.testing import check_method

    marker = request.node.get_closest_marker(MARK)
    options: dict[str, Any] = dict(marker.kwargs)
    reports = request.config.stash[_REPORTS]
    key = json.dumps([marker.args, options], default=repr, sort_keys=True)
    if key not in reports:
        reports[key] = check_method(*marker.args, **options)
    return reports[key]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Report the cost of each method."""
    for report in config.stash[_REPORTS].values():
        if report.cost:
            terminalreporter.write_line(f"anyadbench: {report.method}: {report['cost'].reason}")
