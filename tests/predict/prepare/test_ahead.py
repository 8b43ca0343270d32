"""Patients prepared in processes that the system may end."""

from __future__ import annotations

import os
from collections.abc import Callable
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
