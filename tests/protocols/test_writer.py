"""A protocol that is printed reads back as the same protocol."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest

from anyadbench.cli import main
from anyadbench.data.slices.rules import GeometryRules, HealthySplitRules, IntensityRules, SliceRules, SplitRules
from anyadbench.protocols import Protocol, TestSet, find_protocol, protocol_files
from anyadbench.protocols.model import ScoringRules
from anyadbench.protocols.reader import read_protocol
from anyadbench.protocols.writer import to_toml

ODD = Protocol(
    name="odd",
    version=3,
    title='Quotes " and \\ and \x1b[2J and \x9b and \x7f, ångström',
    sequences=("flair", "t1", "t1ce"),
    subsets=(("flair",), ("t1", "t1ce")),
    train="phantom",
    tests=(
        TestSet("one", "mu", "all", {"t1": "t1ce", "flair": "t2"}, (("t1",), ("flair", "t1"))),
        TestSet('a "name" = [b]', "phantom"),
    ),
    as_available=False,
    slices=SliceRules(min_brain=1e-07, max_train=5, cavity=False),
    split=SplitRules(0.5, 0.25, 0.25, salt="a#b\ttab", cover_subsets=False),
    intensity=IntensityRules("slice-minmax8", 99.0),
    geometry=GeometryRules((64, 48), (32, 32)),
    scoring_grid=(20, 30),
    scoring=ScoringRules(5, 1.5, 0.25, "nearest"),
    selection="test-image-ap",
    candidates=4,
    weights="package",
    budget="demo",
    threads=7,
    oracle=True,
    notes='\nFirst line \\n no break\n\n""" quotes\n[train]\ndataset = "mu"\n',
)


def again(text: str, folder: Path) -> Protocol:
    path = folder / "again.toml"
    path.write_text(text, encoding="utf-8")
    return read_protocol(path)


@pytest.mark.parametrize("name", sorted(protocol_files()))
def test_what_show_prints_reads_back_as_the_same_protocol(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["protocols", "show", name])
    assert not ended.value.code
    protocol, read = find_protocol(name), again(capsys.readouterr().out, tmp_path)
    assert replace(read, file=protocol.file) == protocol
    assert read.hash == protocol.hash


def test_every_rule_and_every_odd_character_survives(tmp_path: Path) -> None:
    read = again(to_toml(ODD), tmp_path)
    assert replace(read, file=ODD.file) == ODD
    assert read.hash == ODD.hash
    assert not {"\x1b", "\x9b", "\x7f"} & set(to_toml(ODD))


def test_every_default_is_written_out() -> None:
    plain = Protocol("plain", 1, "Plain", ("flair",), (("flair",),), "phantom", (TestSet("phantom", "phantom"),))
    written = tomllib.loads(to_toml(plain))
    kinds = {"slices": SliceRules, "split": SplitRules, "intensity": IntensityRules, "geometry": GeometryRules}
    for table, kind in {**kinds, "scoring": ScoringRules}.items():
        assert {field.name for field in fields(kind)} <= set(written[table])
    assert {field.name for field in fields(HealthySplitRules)} == set(written["split"]["healthy"])
    assert written["train"] == {"dataset": "phantom", "normals": "lesion-free", "shots": "all"}
    nested = {*kinds, "scoring", "scoring_grid", "train", "normals", "shots", "healthy_split", "tests", "file"}
    assert {field.name for field in fields(Protocol)} - nested <= set(written)
    assert written["geometry"] == {"resize": "none", "crop": "none"} and written["scoring"]["grid"] == "native"
