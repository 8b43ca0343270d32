"""The simulations of the benchmarks, small and with a fixed seed."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


def load(name: str, known_as: str) -> ModuleType:
    """Load a benchmark by its path: its folder on the search path would hide packages of the same names."""
    spec = spec_from_file_location(known_as, BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[known_as] = module
    spec.loader.exec_module(module)
    return module


cohorts = load("simulated_cohorts", "simulated_cohorts")
coverage = load("coverage", "coverage_benchmark")
error_rates = load("error_rates", "error_rates_benchmark")
SETTINGS, METRICS = cohorts.SETTINGS, cohorts.METRICS


def test_leaving_a_simulated_subject_out_pools_the_others() -> None:
    rng = np.random.default_rng(0)
    counts = cohorts.draw_scores(rng, SETTINGS[0], cohorts.draw_subjects(rng, SETTINGS[0], 2, 5))
    without = cohorts.leave_one_out(counts)
    others = cohorts.values_of(counts.changed(lambda part: np.delete(part, 3, axis=-2)).pooled())
    assert all(without[name][:, 3] == pytest.approx(others[name]) for name in METRICS)


@pytest.mark.slow
def test_intervals_of_eight_subjects_hold_the_truth() -> None:
    found = coverage.simulate(SETTINGS[0], 8, 200, 50)
    share = {key: float(np.nanmean(np.concatenate(parts))) for key, parts in found.items()}
    for metric in METRICS:
        assert share["subset", metric, "jackknife"] > 0.89 and share["mean", metric, "jackknife"] > 0.88
        assert share["subset", metric, "bootstrap"] < share["subset", metric, "jackknife"]


@pytest.mark.slow
def test_two_equal_methods_are_rarely_separated() -> None:
    rates = error_rates.single_rates(SETTINGS[0], SETTINGS[0], 8, 200, 0)
    assert max(max(found) for found in rates.values()) < 0.11
