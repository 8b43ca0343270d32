"""Patients prepared in processes that the system may end."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from anyadbench.errors import UserError
from anyadbench.predict.batch import Patient
from anyadbench.predict.prepare import ahead
from anyadbench.predict.prepare.plan import parse_plan


def prepared(scans: dict[str, str], *arguments: object) -> Any:
    """End the process where a scan says so, as the system does when memory runs out."""
    if scans["flair"] == "fatal":
        os._exit(9)
    return SimpleNamespace(name=scans["flair"])


def test_a_process_that_ends_costs_only_its_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_prepare", prepared)
    patients = [Patient(name, {"flair": name}) for name in ("first", "fatal", "third")]
    policy: Any = SimpleNamespace(policy=SimpleNamespace(device="cpu", threads=1))
    made = ahead.Ahead(policy, patients, parse_plan("auto"), workers=2)
    said: Callable[[str], None] = lambda text: None  # noqa: E731
    found: list[str] = []
    for patient in patients:
        try:
            found.append(str(made.get(patient, said).name))  # type: ignore[attr-defined]
        except UserError as error:
            found.append(str(error))
    made.close()
    assert found[0] == "first" and found[2] == "third"
    assert found[1].startswith("The process that prepared fatal was ended by the system, probably for want of memory;")


class Recorded(ahead.Ahead):
    """Prepares at once and records whom."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.started: list[str] = []

    def _start(self, patient: Patient) -> None:
        if patient.name not in self._made:
            self.started.append(patient.name)
            self._made[patient.name] = Future()
            self._made[patient.name].set_result(SimpleNamespace(name=patient.name))

    @property
    def kept(self) -> set[str]:
        return set(self._made)


def test_only_patients_that_will_be_asked_for_are_prepared_and_kept() -> None:
    patients = [Patient(name, {"flair": name}) for name in ("a", "done1", "b", "done2", "failed", "c", "d")]
    policy: Any = SimpleNamespace(policy=SimpleNamespace(device="cpu", threads=1))
    made = Recorded(policy, patients, parse_plan("auto"), workers=3, wanted=lambda one: not one.name.startswith("done"))
    said: Callable[[str], None] = lambda text: None  # noqa: E731
    assert made.get(patients[0], said).name == "a"  # type: ignore[attr-defined]
    assert made.started == ["a", "b", "failed"]
    made.get(patients[2], said)
    assert made.started == ["a", "b", "failed", "c"]
    made.get(patients[5], said)  # failed was never asked for
    assert made.started == ["a", "b", "failed", "c", "d"] and made.kept == {"d"}
    made.get(patients[1], said)  # its files were removed meanwhile
    assert made.started[-1] == "done1"
