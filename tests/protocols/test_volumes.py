"""The rules of whole scans in a protocol file: read, hashed only where they count, and refused where they do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import TINY_PROTOCOL, VOLUME_PROTOCOL

from anyadbench.errors import UserError
from anyadbench.metrics.lesions import DilationRule, OverlapRule
from anyadbench.protocols import Protocol, find_protocol
from anyadbench.protocols.reader import read_protocol
from anyadbench.protocols.writer import to_toml


def read(folder: Path, scoring: str) -> Protocol:
    path = folder / "p.toml"
    path.write_text(TINY_PROTOCOL.replace("[[test]]", f"[scoring]\n{scoring}\n\n[[test]]"))
    return read_protocol(path)


def test_only_what_counts_is_hashed(tmp_path: Path) -> None:
    plain, volumes = read(tmp_path, ""), read(tmp_path, "volumes = true")
    assert plain.hash == read(tmp_path, "volumes = false").hash != volumes.hash
    assert "scoring" not in plain.test_part() and plain.training_part() == volumes.training_part()
    smoothed = read(tmp_path, "smoothing_size = 5").test_part()["scoring"]
    assert set(smoothed) == {"smoothing_size", "smoothing_sigma", "top_fraction", "masks"}
    assert set(volumes.test_part()["scoring"]) - set(smoothed) == {
        "volumes", "lesion_rule", "lesion_overlap", "smallest_cluster_ml",
    }  # fmt: skip
    brats = read(tmp_path, 'volumes = true\nlesion_rule = "brats"\nlesion_dilation = 1')
    assert "lesion_overlap" not in brats.test_part()["scoring"] and brats.test_part()["scoring"]["lesion_dilation"] == 1


def test_the_rule_is_that_of_the_keys(tmp_path: Path) -> None:
    assert read(tmp_path, "volumes = true").scoring.rule() == OverlapRule()
    own = read(tmp_path, "volumes = true\nlesion_overlap = 0.5\nsmallest_cluster_ml = 0.1").scoring.rule()
    assert own == OverlapRule(overlap=0.5, smallest_ml=0.1)
    keys = 'volumes = true\nlesion_rule = "brats"\nlesion_dilation = 1\nlesion_dropped_mm3 = 2\nsmallest_cluster_ml = 0'
    assert read(tmp_path, keys).scoring.rule() == DilationRule(1, 2.0, 0.0)


def test_a_written_protocol_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "volumes.toml"
    path.write_text(VOLUME_PROTOCOL)
    protocol = read_protocol(path)
    path.write_text(to_toml(protocol))
    assert read_protocol(path) == protocol and protocol.scoring.volumes


def test_the_builtin_protocol_shares_the_training_of_phantom_7subsets() -> None:
    volumes, slices = find_protocol("phantom-volumes"), find_protocol("phantom-7subsets")
    assert volumes.scoring.volumes and volumes.training_part() == slices.training_part()
    own = {"scoring": None, "healthy_split": None}
    assert {**volumes.test_part(), **own} == {**slices.test_part(), **own}
    assert find_protocol("phantom-shift-volumes").training_part() == slices.training_part()


@pytest.mark.parametrize(
    ("scoring", "message"),
    [
        ("lesion_overlap = 0.5", "scoring.lesion_overlap has no effect without volumes = true; add that, or remove"),
        ('lesion_rule = "brats"', "scoring.lesion_rule has no effect without volumes = true"),
        ("volumes = true\nlesion_dilation = 1", 'lesion_dilation has no effect with lesion_rule = "overlap"; remove'),
        ("volumes = true\nlesion_overlap = 1.5", "scoring.lesion_overlap must lie above 0 and not above 1"),
        ("volumes = true\nlesion_overlap = 0", "scoring.lesion_overlap must lie above 0 and not above 1"),
        ('volumes = true\nlesion_rule = "iou"', "scoring.lesion_rule cannot be 'iou'; use one of overlap, brats"),
        ("volumes = 1", "scoring.volumes must be of type bool"),
        ("volumes = true\nsmallest_cluster_ml = -1", "smallest_cluster_ml must not be negative"),
    ],
)
def test_a_key_without_effect_or_sense_is_refused(tmp_path: Path, scoring: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, scoring)
