"""The checks, and the findings of the kit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from anyadbench.errors import UserError, suggest

Status = Literal["passed", "warned", "failed", "expected", "unexpected", "skipped", "unavailable"]


@dataclass(frozen=True)
class Check:
    """One requirement of every method.

    Attributes:
        id: Stable name; a check whose meaning changes gets a new one.
        title: What is required.
        why: What goes wrong on a board otherwise.
    """

    id: str
    title: str
    why: str


ORDER: tuple[Status, ...] = ("failed", "unexpected", "skipped", "warned", "expected", "unavailable", "passed")
"""The order in which outcomes are counted."""

CHECKS: tuple[Check, ...] = (
    Check(
        "descriptor-light",
        "The descriptor imports in a blink and without torch, numpy or another heavy library.",
        "Every command that lists methods imports every descriptor.",
    ),
    Check(
        "fits",
        "The method is built and fitted with its budget 'tiny'.",
        "Nothing else can be asked of a method that does not run.",
    ),
    Check(
        "maps-finite",
        "Maps are finite float32 of shape B×h×w that fill the slices' grid; image scores, if any, are finite.",
        "One NaN makes every number of a row undefined.",
    ),
    Check(
        "same-seed",
        "Fitted again with the same seed, the method has the same state and gives the same maps, to the bit.",
        "A result that cannot be repeated cannot be checked.",
    ),
    Check(
        "save-load",
        "The stored state in a newly built method gives the same maps, to the bit.",
        "A cell keeps the state and nothing else; its numbers must follow from it.",
    ),
    Check(
        "stored-once",
        "Pretrained tensors that fitting does not change are not stored with a cell (a warning).",
        "Every cell of a grid stores them again, though they follow from the weights.",
    ),
    Check(
        "batch-independent",
        "Neither the order nor the number of slices in a batch changes a map by more than 1e-5.",
        "A slice's score must not depend on which slices it is scored with.",
    ),
    Check(
        "hidden-sequence",
        "Rewriting a hidden sequence changes no score, even if the slice was scored with all sequences before.",
        "What a scan lacks cannot help to find its lesion.",
    ),
    Check(
        "every-subset",
        "Every subset of the sequences can be scored under every policy for missing ones that the descriptor lists.",
        "A row that fails takes the method out of the ranking.",
    ),
    Check(
        "fit-normals-only",
        "Fitting follows from the training normals alone: masks, labels, abnormal, validation and test slices may "
        "change, and the method asks for none of them.",
        "A method that has seen test data is not measured.",
    ),
    Check(
        "writes-inside",
        "Nothing is written outside the folder of the cell.",
        "Cells run side by side, on machines where little else can be written.",
    ),
    Check(
        "no-network",
        "Nothing is fetched; pretrained weights come from the harness.",
        "What is fetched at run time has no hash in the manifest, and is not there on a cluster node.",
    ),
    Check(
        "spawned-process",
        "A new process that has only the stored state gives the same maps, to the bit.",
        "Scoring may happen on another day, machine or launcher than fitting.",
    ),
    Check(
        "cost",
        "Time and memory are reported and stay within the kit's limits.",
        "The kit is for every change of a plugin, so it must end within a minute.",
    ),
)


@dataclass(frozen=True)
class Limits:
    """What a method may cost in the kit.

    Attributes:
        seconds: Processor time of everything that the kit does with the method in its main process; importing
            libraries is not counted.
        memory_mb: Peak memory of that process, libraries included, in MB (10^6 bytes).
        import_seconds: Processor time that importing the descriptor adds to importing the harness.
        patience: Seconds of wall-clock time after which a process is ended.
    """

    seconds: float = 60.0
    memory_mb: float = 8000.0
    import_seconds: float = 1.0
    patience: float = 600.0


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: Its id.
        status: ``passed`` or ``failed``; ``warned`` for a pass with a remark; ``expected`` for a failure in the
            expected-failure map, ``unexpected`` for a pass in it; ``skipped`` where an earlier failure, or a method
            that is not deterministic, left nothing to check; ``unavailable`` for a method whose descriptor says that it
            cannot be run.
        reason: One sentence; empty for a plain pass.
        traceback: Traceback of the error that the method raised, if that is why it fails.
    """

    check: str
    status: Status
    reason: str = ""
    traceback: str = ""

    @property
    def ok(self) -> bool:
        """Whether a method with this finding conforms."""
        return self.status in ("passed", "warned", "expected", "unavailable")


@dataclass(frozen=True)
class Report:
    """Everything that the kit found about one method.

    Attributes:
        method: As requested.
        findings: One per check, in the order of ``CHECKS``.
        cost: ``fit_seconds``, ``score_ms`` (per slice) and ``kit_seconds`` (everything that the kit does), which are
            wall-clock times; ``total_seconds``, the processor time that ``Limits.seconds`` is about; ``memory_mb``.
    """

    method: str
    findings: tuple[Finding, ...]
    cost: Mapping[str, float] = field(default_factory=dict)

    @property
    def counts(self) -> str:
        """How many checks have which outcome, in words, such as ``1 failed, 2 skipped, 11 passed``."""
        counts = Counter(finding.status for finding in self.findings)
        return ", ".join(f"{counts[status]} {status}" for status in ORDER if counts[status])

    @property
    def ok(self) -> bool:
        """Whether the method conforms."""
        return all(finding.ok for finding in self.findings)

    def __getitem__(self, check: str) -> Finding:
        return next(finding for finding in self.findings if finding.check == check)

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        titles = {check.id: check for check in CHECKS}
        findings = [
            {**asdict(finding), "title": titles[finding.check].title, "why": titles[finding.check].why}
            for finding in self.findings
        ]
        return {"method": self.method, "ok": self.ok, "findings": findings, "cost": dict(self.cost)}


def check_expected(expected: Mapping[str, str]) -> None:
    """Refuse an expected-failure map with an unknown check or without a reason.

    Raises:
        UserError: If there is one.
    """
    known = [check.id for check in CHECKS]
    for name, reason in expected.items():
        if name not in known:
            raise UserError(f"The expected failure {name!r} is not a check of the kit.{suggest(name, known)}")
        if not reason.strip():
            raise UserError(f"The expected failure {name!r} has no reason; say in a sentence why it cannot pass.")


def apply_expected(findings: Iterable[Finding], expected: Mapping[str, str]) -> tuple[Finding, ...]:
    """Turn failures that were expected into ``expected``, and passes that were not into ``unexpected``.

    A check that was skipped after an earlier failure counts as failed: it must be expected, too.
    """
    found = []
    for finding in findings:
        why = expected.get(finding.check)
        if why is not None and finding.status in ("failed", "skipped"):
            finding = replace(finding, status="expected", reason=f"{why} (found: {finding.reason})")
        elif why is not None and finding.status == "passed":
            text = f"It passes, but is expected to fail ({why}); remove it from the expected failures."
            finding = replace(finding, status="unexpected", reason=text)
        found.append(finding)
    return tuple(found)
