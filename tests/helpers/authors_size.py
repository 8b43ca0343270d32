"""Two training steps of a method at its authors' size, in a process of its own.

Some take more than ten gigabytes, which the process of the tests would keep.
"""

from __future__ import annotations

import math
import subprocess
import sys


def two_steps(name: str, size: int, *, score: bool) -> None:
    """Train two steps on at most so many slices, check the losses, and the maps if asked for."""
    command = [sys.executable, __file__, name, str(size), str(int(score))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])


def _run(name: str, size: int, score: bool) -> None:
    import torch
    from baseline_fixture import Loop, count, fitted
    from inp_fixture import training_batch

    from anyadbench.plugins import load_methods

    torch.set_num_threads(1)
    method = fitted(load_methods()[name], steps=0, profile="published", budget="paper")
    assert count(method) > 1_000_000 or name == "pixelstats"
    if method.optimizers():
        own = min(size, int(method.context.params["batch_size"]))
        losses = Loop(method, 2).run(training_batch(size=own)).losses
        assert losses and all(math.isfinite(value) for values in losses.values() for value in values)
    if score:
        torch.manual_seed(5)
        with torch.no_grad():
            assert torch.isfinite(method.eval().score(training_batch(size=2)).maps).all()


if __name__ == "__main__":
    _run(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1")
