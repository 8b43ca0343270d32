"""Hashes of values and files, and the cache folder."""

from __future__ import annotations

import hashlib
import os
from enum import StrEnum
from pathlib import Path

import numpy as np
import pytest

from anyadbench.hashing import sha256_file, stable_hash
from anyadbench.paths import cache_dir
from anyadbench.weights import checksums
from anyadbench.weights.checksums import cached_sha256


def test_stable_hash_is_that_of_canonical_json() -> None:
    text = b'{"a":[1,0.1,null,true],"b":"\\u00e9"}'
    assert stable_hash({"b": "é", "a": (1, 0.1, None, True)}) == hashlib.sha256(text).hexdigest()


def test_values_of_different_type_hash_differently() -> None:
    assert len({stable_hash(value) for value in (1, 1.0, True, "1", None, [1])}) == 6


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}, [-float("inf")]])
def test_numbers_that_json_lacks_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="only finite numbers"):
        stable_hash(value)


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize("value", [{1: "a"}, {"a": {1}}, b"a", np.float64(1), Colour.RED, Path()])
def test_values_that_are_no_plain_json_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match=r"text keys|plain JSON"):
        stable_hash(value)


def test_the_sentence_says_where_the_bad_value_is() -> None:
    with pytest.raises(TypeError, match=r"value\['a'\]\[1\] is a bytes"):
        stable_hash({"a": [1, b""]})


def test_sha256_file_reads_the_bytes(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    assert sha256_file(file) == hashlib.sha256(b"abc").hexdigest()


def test_a_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYADBENCH_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    first = cached_sha256(file)
    monkeypatch.setattr(checksums, "sha256_file", lambda path: "again")
    assert cached_sha256(file) == first == hashlib.sha256(b"abc").hexdigest()


def test_a_changed_file_is_hashed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYADBENCH_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    cached_sha256(file)
    file.write_bytes(b"abd")
    os.utime(file, ns=(1, 1))
    assert cached_sha256(file) == hashlib.sha256(b"abd").hexdigest()


def test_a_damaged_cache_entry_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYADBENCH_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    cached_sha256(file)
    (note,) = (tmp_path / "cache" / "sha256").iterdir()
    note.write_text("{")
    assert cached_sha256(file) == hashlib.sha256(b"abc").hexdigest()


def test_a_cache_folder_that_cannot_be_written_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"abc")
    monkeypatch.setenv("ANYADBENCH_CACHE", str(file))
    assert cached_sha256(file) == hashlib.sha256(b"abc").hexdigest()


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYADBENCH_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("ANYADBENCH_CACHE")
    assert cache_dir().name == "anyadbench"
