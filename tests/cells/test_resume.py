"""A cell that is killed at any moment ends with the same bits as one that is never interrupted."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from grid_fixture import content
from kill_runner import PHASES
from places import HELPERS

STEPS = 12
"""Training steps of the toy method."""

SEED = int(os.environ.get("ANYADBENCH_KILL_SEED", random.randrange(10**6)))
"""A different seed, hence different moments, in every run of the tests; a failure reports it."""


def finish(
    runs: Path, site: Path, protocol: Path, data: Path, moments: list[tuple[str, int]], *, to_the_end: bool = True
) -> list[int]:
    """Run the cell, killed at the given moments, to its end; return how each process ended."""
    script = HELPERS / "kill_runner.py"
    command = [sys.executable, str(script), str(protocol), str(data), str(runs), "toy", json.dumps(moments)]
    command += ["once more"] if to_the_end else []
    environment = {**os.environ, "PYTHONPATH": str(site), "ANYADBENCH_CACHE": str(runs.parent / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    codes: list[int] = json.loads(done.stdout)
    return codes


def moments(count: int, seed: int) -> list[tuple[str, int]]:
    """Return random moments, in the order in which a run reaches them, of as many phases as there are moments."""
    draw = random.Random(seed)
    phases = draw.sample(PHASES, min(count, len(PHASES)))
    phases += [draw.choice(PHASES[2:]) for _ in range(count - len(phases))]
    drawn = [(phase, draw.randrange(STEPS)) for phase in sorted(phases, key=PHASES.index)]
    # Training, and writing checkpoints in it, only move forward: later moments fall in later steps. The last steps
    # write no checkpoint, so that these moments are certain to be reached.
    training = sorted(number for phase, number in drawn if phase == "training")
    before = [(phase, number % 4) for phase, number in drawn if phase in ("checkpoint", "seal")]
    first = [moment for moment in drawn if PHASES.index(moment[0]) < 3]
    last = [moment for moment in drawn if PHASES.index(moment[0]) > PHASES.index("weights")]
    weights = fit_endings([number for phase, number in drawn if phase == "weights"])
    return [*first, *before, *(("training", n) for n in training), *(("weights", n) for n in weights), *last]


def fit_endings(numbers: Sequence[int]) -> list[int]:
    """Return moments of ``weights`` in an order in which each is reached: a fit is completed last, and once."""
    written, completed = ([n for n in numbers if (n % 3 == 0) == last] for last in (False, True))
    return [*written, *(0 for _ in completed[1:]), *completed[:1]]


@pytest.fixture(scope="module")
def untouched(
    tmp_path_factory: pytest.TempPathFactory, toy_site: Path, tiny_protocol: Path, tiny_phantom: Path
) -> dict[str, bytes]:
    runs = tmp_path_factory.mktemp("untouched") / "runs"
    assert finish(runs, toy_site, tiny_protocol, tiny_phantom, []) == [0]
    return content(runs)


def check(untouched: dict[str, bytes], runs: Path, drawn: list[tuple[str, int]], codes: list[int]) -> None:
    said = f"ANYADBENCH_KILL_SEED={SEED}: {drawn} ended with {codes}"
    assert codes[-1] == 0, said
    assert all(code == -9 for code in codes[:-1]), said
    found = content(runs)
    assert found.keys() == untouched.keys(), said
    assert [name for name, value in found.items() if value != untouched[name]] == [], said
    assert len(found) > 5


def test_a_cell_killed_at_five_random_moments_ends_with_the_same_bits(
    untouched: dict[str, bytes], tmp_path: Path, toy_site: Path, tiny_protocol: Path, tiny_phantom: Path
) -> None:
    drawn = moments(5, SEED)
    codes = finish(tmp_path / "runs", toy_site, tiny_protocol, tiny_phantom, drawn)
    check(untouched, tmp_path / "runs", drawn, codes)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_seen_and_the_one_before_it_used(
    untouched: dict[str, bytes], tmp_path: Path, toy_site: Path, tiny_protocol: Path, tiny_phantom: Path
) -> None:
    runs = tmp_path / "runs"
    leave_at = [("training", 8)]
    assert finish(runs, toy_site, tiny_protocol, tiny_phantom, leave_at, to_the_end=False) == [-9]
    (folder,) = (runs / "fits").glob("*/checkpoints")
    newest = sorted(folder.glob("*.pt"))[-1]
    bits = bytearray(newest.read_bytes())
    bits[len(bits) // 2] ^= 1
    newest.write_bytes(bits)
    codes = finish(runs, toy_site, tiny_protocol, tiny_phantom, [])
    check(untouched, runs, [("damaged", 8)], codes)
    (log,) = (runs / "cells").glob("*/log.txt")
    assert f"Checkpoint {newest.name} is damaged" in log.read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cell_killed_at_thirty_random_moments_ends_with_the_same_bits(
    untouched: dict[str, bytes], tmp_path: Path, toy_site: Path, tiny_protocol: Path, tiny_phantom: Path
) -> None:
    drawn = moments(30, SEED + 1)
    codes = finish(tmp_path / "runs", toy_site, tiny_protocol, tiny_phantom, drawn)
    check(untouched, tmp_path / "runs", drawn, codes)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_phase_can_be_killed_once(
    untouched: dict[str, bytes], tmp_path: Path, toy_site: Path, tiny_protocol: Path, tiny_phantom: Path
) -> None:
    drawn = [(phase, 1) for phase in PHASES[:3]] + [("checkpoint", 2), ("seal", 0), ("seal", 1), ("training", 4)]
    drawn += [("weights", number) for number in (0, 1, 2)] + [("scoring", number) for number in range(4)]
    drawn += [("results", number) for number in range(12)]
    codes = finish(tmp_path / "runs", toy_site, tiny_protocol, tiny_phantom, drawn)
    check(untouched, tmp_path / "runs", drawn, codes)
