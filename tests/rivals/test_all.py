"""Requirements of every rival: a full descriptor, a light import, one to four sequences, and its authors' size."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest
import torch
from authors_size import two_steps
from baseline_fixture import Loop, build
from deterministic_fixture import only_deterministic_on_a_gpu
from inp_fixture import training_batch
from places import ROOT

from anyadbench.api import DEMO_SLICES
from anyadbench.methods.contract import Batch
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.plugins.methods import _HOMES
from anyadbench_rivals.descriptors import UNIMMAD, UNIMMAD_MODDROP, UNITRANSAD, UNITRANSAD_FLAIR
from anyadbench_rivals.diffusion.descriptors import DDPM, DDPM_PATCHED

RIVALS = (DDPM, DDPM_PATCHED, UNIMMAD, UNIMMAD_MODDROP, UNITRANSAD, UNITRANSAD_FLAIR)
EACH = pytest.mark.parametrize("descriptor", RIVALS, ids=lambda one: one.name)
QUICK = pytest.mark.parametrize(
    "descriptor",
    [one if one in (DDPM, UNITRANSAD) else pytest.param(one, marks=pytest.mark.slow) for one in RIVALS],
    ids=lambda one: one.name,
)
"""Every rival, but only one of each quick network outside the slow tests."""


def test_the_distribution_offers_them_all() -> None:
    project = tomllib.loads((ROOT / "plugins/rivals/pyproject.toml").read_text())["project"]
    names = [one.name for one in RIVALS]
    assert sorted(project["entry-points"]["anyadbench.methods"]) == names
    assert [name for name, home in _HOMES.items() if home == project["name"]] == names  # what an error says to install


@EACH
def test_a_descriptor_says_what_a_board_must_print(descriptor: MethodDescriptor) -> None:
    assert descriptor.citation and descriptor.code_licence and descriptor.summary.endswith(".")
    assert descriptor.departures and all(text.endswith(".") for text in descriptor.departures)
    assert all(param.doc.endswith(".") for param in descriptor.params)
    assert f"`{descriptor.name}`" in (ROOT / "docs/baselines.md").read_text()
    demo = descriptor.resolve("demo")
    assert int(demo["steps"]) * int(demo["batch_size"]) == DEMO_SLICES


def test_descriptors_load_without_torch() -> None:
    code = (
        "import sys, anyadbench_rivals.descriptors, anyadbench_rivals.diffusion.descriptors\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'timm')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("count", [1, pytest.param(4, marks=pytest.mark.slow)])
@QUICK
def test_one_or_four_sequences_are_enough(descriptor: MethodDescriptor, count: int) -> None:
    sequences = ("flair", "t1", "t1ce", "t2")[-count:]
    method = build(descriptor, sequences=sequences)
    shown = torch.ones(2, len(sequences), dtype=torch.bool)
    images = torch.rand(2, len(sequences), 40, 40)
    with only_deterministic_on_a_gpu():
        Loop(method, 1).run(Batch.full(images, shown))
        with torch.no_grad():
            assert torch.isfinite(method.score(Batch(images, shown)).maps).all()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@EACH
def test_the_papers_budget_takes_two_steps_at_the_authors_size(descriptor: MethodDescriptor) -> None:
    two_steps(descriptor.name, 2, score=False)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@EACH
def test_the_demo_budget_scores_after_two_steps(descriptor: MethodDescriptor) -> None:
    method = build(descriptor, budget="demo")
    Loop(method, 2).run(training_batch())
    with torch.no_grad():
        assert torch.isfinite(method.score(training_batch(size=2)).maps).all()
