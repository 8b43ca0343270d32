"""The metrics package as a whole: light to import, complete, and without torch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from anyadbench import metrics


def loaded_after(code: str) -> set[str]:
    program = f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_no_numpy() -> None:
    loaded = loaded_after("import anyadbench.metrics as m; m.METRICS, m.METRIC_VERSION")
    assert not loaded & {"numpy", "scipy", "torch", "pandas"}


def test_evaluating_loads_no_torch() -> None:
    code = "import numpy as np, anyadbench.metrics as m; m.evaluate(np.eye(4)[None], np.eye(4, dtype=bool)[None])"
    loaded = loaded_after(code + "; m.subject_intervals")
    assert "scipy.special" in loaded
    assert not loaded & {"torch", "pandas", "sklearn", "scipy.stats"}


def test_what_prediction_imports_loads_no_statistics() -> None:
    loaded = loaded_after("import anyadbench.metrics.boxes.row, anyadbench.metrics.intervals.interval")
    assert "scipy.special" in loaded
    assert not loaded & {"torch", "scipy.stats"}  # every prediction would wait for them


def test_every_exported_name_is_there() -> None:
    for name in metrics.__all__:
        assert getattr(metrics, name) is not None
    assert set(metrics.__all__) <= set(dir(metrics))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'auroc'"):
        metrics.auroc  # noqa: B018
