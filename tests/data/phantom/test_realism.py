"""The phantom's statistics lie where those of real scans do; bounds are wide, the benchmark prints the figures."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anyadbench.data.phantom import PhantomSpec, synthesise
from anyadbench.data.phantom.embedded import EMBEDDED
from anyadbench.data.phantom.grid import block
from anyadbench.data.phantom.spec import missing_sequence, stream
from anyadbench.data.phantom.subject import _noise
from anyadbench.sequences import COMMON

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
SPEC = EMBEDDED["phantom-dev"]


@pytest.fixture(scope="module")
def realism() -> Any:
    """Return the benchmark's module of figures."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import realism_figures
    finally:
        sys.path.remove(str(BENCHMARKS))
    return realism_figures


@pytest.fixture(scope="module")
def figures(realism: Any) -> dict[tuple[str, str], float]:
    """Return the median figures of three complete subjects of the development phantom."""
    complete = [number for number in range(1, SPEC.subjects + 1) if missing_sequence(SPEC, number) is None][:3]
    measured = []
    for number in complete:
        volumes = synthesise(SPEC, number)
        images = {name: volumes[name].astype(np.float32) for name in COMMON}
        patient = realism.Patient(str(number), images, volumes["seg"] > 0, SPEC.spacing)
        measured.append(realism.measure(patient).figures)
    return {key: float(np.median([own[key] for own in measured])) for key in measured[0]}


@pytest.mark.parametrize(
    ("sequence", "figure", "low", "high"),
    [
        *((name, "noise, neighbours' correlation", 0.35, 0.72) for name in COMMON),
        *((name, "white matter, variation", 0.06, 0.2) for name in COMMON),
        *((name, "spectrum, slope", -3.3, -2.2) for name in COMMON),
        ("flair", "CSF/WM", 0.2, 0.64),
        ("flair", "lesion against brain, AUROC", 0.85, 0.99),
        ("flair", "GM/WM", 0.9, 1.3),
        ("t1", "GM/WM", 0.55, 0.8),
        ("t1", "lesion against brain, AUROC", 0.2, 0.5),
        ("t2", "CSF/WM", 1.6, 2.6),
        ("t2", "lesion against brain, AUROC", 0.7, 0.9),
        ("t2", "lesion/CSF", 0.6, 1.07),
        ("", "brain, ml", 1080, 1800),
        ("", "CSF, share of the brain", 0.07, 0.2),
    ],
)
def test_a_figure_lies_near_those_of_real_scans(
    figures: dict[tuple[str, str], float], sequence: str, figure: str, low: float, high: float
) -> None:
    assert low < figures[sequence, figure] < high


def test_noise_is_correlated_between_neighbours_in_the_plane_and_has_unit_variance() -> None:
    noise = _noise(stream(SPEC, 1, "test"), block(SPEC), 0.7)
    assert abs(float(noise.std()) - 1) < 0.03
    pairs = {axis: np.corrcoef(noise.ravel(), np.roll(noise, 1, axis).ravel())[0, 1] for axis in range(3)}
    assert 0.5 < pairs[0] < 0.75
    assert 0.5 < pairs[1] < 0.75
    assert abs(pairs[2]) < 0.05


def test_heads_differ_in_size_and_fluid(realism: Any) -> None:
    spec = replace(PhantomSpec.tiny(), shape=(64, 64, 30), spacing=(3.4, 3.4, 5.0), healthy=6)
    figures = []
    for number in spec.numbers[-6:]:
        volumes = synthesise(spec, number)
        images = {name: volumes[name].astype(np.float32) for name in volumes if name != "seg"}
        if "t1" in images:
            patient = realism.Patient("", images, volumes["seg"] > 0, spec.spacing)
            figures.append([patient.brain.sum(), realism.tissues(patient)["csf"].sum()])
    spread = np.std(figures, axis=0) / np.mean(figures, axis=0)
    assert spread[0] > 0.03
    assert spread[1] > 0.08


def test_real_scans_are_measured_by_the_same_code(realism: Any) -> None:
    shared = os.environ.get("ANYADBENCH_SHARED", "")
    if not (Path(shared) / "data" / "mslub").is_dir() or not shared:
        pytest.skip("ANYADBENCH_SHARED is unset or has no data/mslub")
    sys.path.insert(0, str(BENCHMARKS))
    try:
        from phantom_realism import real_patients
    finally:
        sys.path.remove(str(BENCHMARKS))
    patient = next(real_patients(Path(shared)))
    found = realism.measure(patient).figures
    assert 0.2 < found["flair", "noise, neighbours' correlation"] < 0.8
    assert 0.65 < found["flair", "lesion against brain, AUROC"] <= 1
