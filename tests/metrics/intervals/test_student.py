"""Student's t has the bits of scipy.stats, and tests and intervals do without its import."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from scipy import stats

from anyadbench.metrics.intervals.student import quantile, two_sided


def test_it_has_the_bits_of_scipy_stats() -> None:
    rng = np.random.default_rng(0)
    t = np.concatenate([3 * rng.standard_t(3, 5000), [0.0, np.inf, -np.inf, np.nan, 1e300, 2.0]])
    df = np.concatenate([1 + rng.exponential(5, 5000), [1.0, 2.0, 3.0, 4.0, 5.0, np.nan]])
    np.testing.assert_array_equal(two_sided(t, df), 2.0 * stats.t.sf(np.abs(t), df))
    for q in (0.5, 0.8, 0.975):
        np.testing.assert_array_equal(quantile(q, df), stats.t.ppf(q, df))
    assert float(quantile(0.975, 7.5)) == float(stats.t.ppf(0.975, 7.5))


def test_tests_and_intervals_do_not_import_scipy_stats() -> None:
    names = ", ".join(f"anyadbench.metrics.intervals.{name}" for name in ("interval", "paired", "pairs", "plain"))
    code = f"import sys, {names}; print('scipy.special' in sys.modules, 'scipy.stats' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
