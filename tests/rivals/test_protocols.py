"""Every rival on every phantom protocol, for two steps of the budget ``demo``, and on one under ``paper``."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from inprocess import Done, run
from trees import anatomy, make_tree, save

from anyadbench.protocols import find_protocol, protocol_files
from anyadbench_rivals.descriptors import UNIMMAD, UNIMMAD_MODDROP, UNITRANSAD, UNITRANSAD_FLAIR
from anyadbench_rivals.diffusion.descriptors import DDPM, DDPM_PATCHED

PROTOCOLS = sorted(name for name in protocol_files() if name.startswith("phantom-"))

PAPER = {
    DDPM.name: ("image_size=32", "start=2"),
    DDPM_PATCHED.name: ("image_size=32", "patch=16"),
    UNIMMAD.name: ("image_size=64", "epochs=0"),
    UNIMMAD_MODDROP.name: ("image_size=64", "epochs=0"),
    UNITRANSAD.name: ("image_size=64", "epochs=0"),
    UNITRANSAD_FLAIR.name: ("image_size=64", "epochs=0"),
}
"""Smaller pictures and shorter chains, so that a processor scores with the authors' networks in minutes."""

DEMO = {DDPM.name: ("start=2",), UNIMMAD.name: ("image_size=64",), UNIMMAD_MODDROP.name: ("image_size=64",)}
"""The same for the networks of ``demo`` that take more than a few seconds."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sets")
    made = {
        name: make_tree(name, root / name, range(start, start + 6), (40, 40, 12))
        for name, start in (("phantom", 1), ("phantom-shift", 11), ("phantom-dev", 21))
    }
    made["many"] = make_tree("phantom", root / "many", range(301, 325))
    for number in range(901, 907):
        scan = f"Phantom-H_{number}_1"
        for kind in ("flair", "t1", "t1ce", "t2"):
            path = made["phantom"] / f"HGG/{scan}/{scan}_{kind}.nii.gz"
            save(path, anatomy(number, (40, 40, 12), kind))
    return made


def rows_of(name: str, trees: dict[str, Path], runs: Path, method: str, budget: str, *settings: str) -> Done:
    """Run two steps of a method, and check that each row of the protocol has numbers."""
    protocol = find_protocol(name)
    values = [f"{method}.{setting}" for setting in ("steps=2", "batch_size=2", *settings)]
    # Protocols of few subjects need as many to choose from as they train on.
    data = {"phantom": trees["many"]} if protocol.shots else {one: trees[one] for one in protocol.datasets}
    (done,) = run(name, data, runs, [method], values, budget)
    assert done.result.train["steps"] == 2
    for test in protocol.tests:
        rows = done.rows(test.name)
        assert tuple(rows) == protocol.rows(test)
        for row in rows.values():
            assert all(math.isfinite(row.metrics[key]) for key in ("pixel_auroc", "pixel_ap", "image_auroc"))
    return done


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("method", PAPER)
def test_every_protocol_fills_every_row_under_demo(
    protocol: str, method: str, trees: dict[str, Path], tmp_path: Path
) -> None:
    rows_of(protocol, trees, tmp_path, method, "demo", *DEMO.get(method, ()))


@pytest.mark.parametrize("method", PAPER)
def test_the_authors_networks_fill_every_row(method: str, trees: dict[str, Path], tmp_path: Path) -> None:
    rows_of("phantom-7subsets", trees, tmp_path, method, "paper", *PAPER[method])
