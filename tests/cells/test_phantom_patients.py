"""Healthy subjects of a phantom are made only for protocols that read them, and change nothing for the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from anyadbench.cells import stores
from anyadbench.data.phantom import PhantomSpec, generate
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.protocols import Protocol, find_protocol

EMBEDDED = {"phantom": PhantomSpec.tiny(8, healthy=2), "phantom-shift": PhantomSpec.tiny(2, 1, True, healthy=1)}
WITH = {"phantom-healthy", "phantom-volumes", "phantom-shift-volumes"}
WITHOUT = {"phantom-7subsets", "phantom-15subsets", "phantom-shift", "phantom-dev"}


@pytest.mark.parametrize("name", sorted(WITH | WITHOUT))
def test_a_protocol_says_whether_it_reads_healthy_subjects(name: str) -> None:
    assert find_protocol(name).uses_healthy == (name in WITH)


def opened(protocol: Protocol) -> ProtocolData:
    return ProtocolData(protocol, stores.open_stores(protocol, {}, lambda done, total, label: None))


def test_healthy_subjects_are_made_where_they_are_read_and_leave_the_fit_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, int]] = []

    def noted(root: Path, spec: PhantomSpec, progress: Callable[[int, int], None], workers: int, option: str) -> Path:
        made.append((spec.name, spec.healthy))
        return generate(root, spec, progress, 1, option)

    monkeypatch.setenv("ANYADBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(stores, "generate", noted)
    monkeypatch.setattr(
        stores, "embedded", lambda name, healthy: EMBEDDED[name] if healthy else replace(EMBEDDED[name], healthy=0)
    )
    slices = replace(find_protocol("phantom-7subsets").slices, min_lesion_px=4, height_caliper_mm=40.0)
    plain, volumes = (
        opened(replace(find_protocol(name), slices=slices)) for name in ("phantom-7subsets", "phantom-volumes")
    )
    assert made == [("phantom-tiny", 0), ("phantom-tiny", 2)]
    assert not plain.stores["phantom"].healthy_subjects
    assert len(volumes.stores["phantom"].healthy_subjects) == 2
    assert plain.training_hash() == volumes.training_hash()
