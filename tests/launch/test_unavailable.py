"""Methods that cannot run here: listed with the reason, refused by name, and left out of patterns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from packages import environment

METHODS = """
from dataclasses import replace

from anyadbench.errors import UserError
from anyadbench_baselines.descriptors import PIXELSTATS

LISTED = {"published": "resnet18.a1_in1k", "package": None}
RUNS = replace(PIXELSTATS, name="here:runs")
CLOUD = replace(PIXELSTATS, name="here:cloud", unavailable="it needs a point cloud")
FILES = replace(PIXELSTATS, name="here:files", files="here:missing")
WEIGHTS = replace(PIXELSTATS, name="here:weights", weights=LISTED)


def missing(params):
    raise UserError("here:files needs the file teacher.pth; download it.")
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "here.py").write_text(METHODS)
    info = folder / "dist_here-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dist-here\nVersion: 1.0\n")
    names = ("runs", "cloud", "files", "weights")
    entries = "".join(f"here:{name} = here:{name.upper()}\n" for name in names)
    (info / "entry_points.txt").write_text(f"[anyadbench.methods]\n{entries}")
    return folder


def command(site: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "anyadbench", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, env=environment(site), check=False)


@pytest.fixture
def options(tiny_protocol: Path, tiny_phantom: Path, tmp_path: Path) -> list[str | Path]:
    where: list[str | Path] = ["--protocol", tiny_protocol, "--data", tiny_phantom, "--runs", tmp_path]
    return [*where, "--weights", "package", "--budget", "tiny"]


def test_the_reason_is_listed(site: Path) -> None:
    assert "Cannot be run: it needs a point cloud." in " ".join(command(site, "methods").stdout.split())
    listed = {item["name"]: item for item in json.loads(command(site, "methods", "--json").stdout)}
    assert listed["here:cloud"]["unavailable"] == "it needs a point cloud"
    assert listed["here:runs"]["unavailable"] == ""
    assert "Cannot be run: it needs a point cloud." in command(site, "methods", "show", "here:cloud").stdout
    shown = json.loads(command(site, "methods", "show", "here:cloud", "--json").stdout)
    assert shown["unavailable"] == "it needs a point cloud"


@pytest.mark.slow
def test_a_pattern_ends_well_where_all_that_can_run_did(site: Path, options: list[str | Path]) -> None:
    done = command(site, "run", "--method", "here:*", *options)
    assert done.returncode == 0, done.stderr
    assert "here:cloud: left out: here:cloud cannot be run: it needs a point cloud." in done.stderr
    assert "here:files: left out: here:files needs the file teacher.pth; download it." in done.stderr
    assert "here:weights: left out: here:weights starts from pretrained weights" in done.stderr
    assert "Left out for the reasons above: here:cloud, here:files, here:weights." in done.stderr
    assert "here:runs" in done.stdout or "Pixel statistics" in done.stdout


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("here:cloud", "here:cloud cannot be run: it needs a point cloud."),
        ("here:files", "here:files needs the file teacher.pth; download it."),
        ("here:weights", "here:weights starts from pretrained weights, and the profile 'package' has none for it"),
        ("here:c*", "No method of --method here:c* can be run; here:cloud: here:cloud cannot be run: it needs a point"),
    ],
)
def test_a_method_that_is_asked_for_is_refused_with_the_reason(
    name: str, sentence: str, site: Path, options: list[str | Path]
) -> None:
    done = command(site, "run", "--method", "here:runs", "--method", name, *options)
    if name.endswith("*"):
        done = command(site, "run", "--method", name, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_setting_that_is_wrong_is_not_taken_for_something_that_is_not_here(
    site: Path, options: list[str | Path]
) -> None:
    done = command(site, "run", "--method", "here:*", "--set", "here:files.image_size=16", *options)
    assert done.returncode == 2
    assert "Left out for the reasons above: here:cloud, here:files, here:weights." in done.stderr
