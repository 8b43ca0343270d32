from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from tiny import TINY_PROTOCOL

from anyadbench.errors import UserError
from anyadbench.protocols import find_protocol, protocol_files
from anyadbench.protocols.reader import read_protocol


@pytest.mark.parametrize("name", sorted(protocol_files()))
def test_every_builtin_protocol_reads_and_writes_out_every_rule(name: str) -> None:
    protocol = find_protocol(name)
    written = tomllib.loads(protocol_files()[name].read_text())
    assert protocol.name == written["name"] == name
    for table in ("slices", "split", "intensity"):
        assert written[table] == vars(getattr(protocol, table)), table


def test_the_hash_follows_the_rules_and_not_the_text(tmp_path: Path) -> None:
    def hashed(text: str) -> str:
        path = tmp_path / "p.toml"
        path.write_text(text)
        return read_protocol(path).hash

    assert hashed(TINY_PROTOCOL) == hashed("# a comment\n" + TINY_PROTOCOL.replace("Tiny phantom", "Another title"))
    assert hashed(TINY_PROTOCOL) != hashed(TINY_PROTOCOL.replace("normal_margin = 1", "normal_margin = 2"))
    assert hashed(TINY_PROTOCOL) != hashed(TINY_PROTOCOL.replace('["flair", "t1", "t2"]', '["flair", "t1"]'))
    assert hashed(TINY_PROTOCOL) != hashed(TINY_PROTOCOL + "[scoring]\nnormalise_height = true\n")
    assert hashed(TINY_PROTOCOL) == hashed(TINY_PROTOCOL + "[scoring]\nnormalise_height = false\n")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("threads = 1", "thread = 1", "line 8: thread is not a known key.*Did you mean 'threads'"),
        ("threads = 1", "threads = 0", "line 8: threads must be at least 1"),
        ("[slices]", "[split]\ntrain = 0.5\n[slices]", "line 14: split.train,? .*must add up to 1"),
        ('name = "phantom"', "name = 3", "line 19: test.name must be of type str"),
        (
            '[[test]]\nname = "phantom"\ndataset = "phantom"',
            '[[test]]\nname = "a"\ndataset = 3',
            "line 20: test.dataset must",
        ),
        ("[[test]]", '[[test]]\nsplit = "some"', "line 19: test.split cannot be 'some'"),
        ("threads = 1", 'threads = "two"', "line 8: threads must be of type int, got 'two'"),
        ("threads = 1", "threads = ", "is not valid TOML.*line 8"),
        ('budget = "tiny"', 'budget = "huge"', "line 7: budget cannot be 'huge'; use one of tiny, demo, paper"),
        ('weights = "package"', 'weights = "mine"', "line 6: weights cannot be 'mine'"),
        ('name = "tiny"', 'name = "Tiny!"', "line 2: name must be lower case"),
        ('title = "Tiny phantom"', "", "title is missing; add it"),
        ('["flair", "t1", "t2"]', '["flair", "pd"]', "line 5: sequences is wrong: Unknown sequence 'pd'"),
        ("threads = 1", 'subsets = ["F+T1ce"]', "line 8: subsets names F\\+T1ce, which is not among"),
        ("threads = 1", 'subsets = ["F+X"]', "line 8: subsets is wrong: 'F\\+X' is not a subset"),
        ("normal_margin = 1", "normal_margin = -1", "slices.normal_margin must not be negative or infinite"),
        ("normal_margin = 1", "min_brain = nan", "slices.min_brain must not be negative or infinite, got nan"),
        ("threads = 1", "subsets = []", "line 8: subsets is empty"),
        ("normal_margin = 1", "normal_margins = 1", "slices.normal_margins is not a known key.*normal_margin"),
        ("match_height = false", "match_height = 0", "slices.match_height must be of type bool"),
        ("[slices]", "[split]\ntrain = 0.5\n[slices]", "validation and test must add up to 1"),
        ("[slices]", '[intensity]\nmode = "z"\n[slices]', "intensity.mode cannot be 'z'"),
        ("[slices]", "[scoring]\ngrid = [0, 5]\n[slices]", "scoring.grid must be 'native' or two sizes"),
        ('name = "phantom"', 'name = "phantom"\nsplit = "some"', "test.split cannot be 'some'"),
        ('name = "phantom"', 'name = "phantom"\nfeed = {t1ce = "t1"}', "test.feed fills"),
        ('name = "phantom"', 'name = "phantom"\nfeed = {t1 = "pd"}', "test.feed is wrong: Unknown sequence 'pd'"),
        ('name = "phantom"', 'name = "phantom"\nsplit = "all"', "test.split cannot be 'all' for phantom, which trains"),
        ('name = "phantom"', 'name = "phantom"\nsubsets = ["T1ce"]', "test.subsets names T1ce, which is not among"),
        ('name = "phantom"', 'name = "phantom"\nsubsets = ["F", "F"]', "test.subsets names a subset twice"),
        ('name = "phantom"', 'name = "phantom"\nsubsets = "F"', "test.subsets must be a list such as"),
        (
            "[[test]]",
            '[[test]]\nname = "a"\ndataset = "mu"\nsplit = "all"\n[[test]]\nname = "b"\ndataset = "mu"\n[[test]]',
            "test.split must be the same in every test set of mu",
        ),
        ("threads = 1", 'selection = "test-image-ap"', "line 8: selection chooses on test data.*oracle = true"),
        ("threads = 1", 'selection = "best"', "line 8: selection cannot be 'best'; use one of last, validation, test"),
        ("threads = 1", "candidates = -1", "line 8: candidates must be 0 .one per epoch. or more"),
        ("[slices]", "[geometry]\ncrop = [0, 5]\n[slices]", "line 14: geometry.crop must be 'none' or two sizes"),
        ("[slices]", "[geometry]\nresize = [9, 9]\ncrop = [9, 10]\n[slices]", "geometry.crop is larger than"),
        ("[slices]", "[scoring]\nsmoothing_size = 4\n[slices]", "line 14: scoring.smoothing_size must be odd"),
        ("[slices]", "[scoring]\ntop_fraction = 2\n[slices]", "scoring.top_fraction must lie between 0 and 1"),
        ("[slices]", "[scoring]\nrank_height = true\n[slices]", "scoring.rank_height needs normalise_height = true; add"),
        ("[slices]", '[scoring]\nmasks = "linear"\n[slices]', "scoring.masks cannot be 'linear'"),
        ("[[test]]", '[[test]]\nname = "phantom"\ndataset = "phantom"\n[[test]]', "with different names"),
    ],
)
def test_each_mistake_is_named_with_its_line(tmp_path: Path, before: str, after: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    assert before in TINY_PROTOCOL
    path.write_text(TINY_PROTOCOL.replace(before, after, 1))
    with pytest.raises(UserError, match=message):
        read_protocol(path)


def test_an_unknown_protocol_is_answered_with_a_suggestion() -> None:
    with pytest.raises(UserError, match="Unknown protocol 'phantom-7subset'. Did you mean 'phantom-7subsets'"):
        find_protocol("phantom-7subset")


def test_a_protocol_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere.toml cannot be read"):
        find_protocol(str(tmp_path / "nowhere.toml"))


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "phantom-7subsets.toml").write_text("")
    with pytest.raises(UserError, match="Two protocols are called 'phantom-7subsets'"):
        protocol_files((tmp_path / "phantom-7subsets.toml",))
