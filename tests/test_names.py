"""Names of files: what a system leaves behind, and names that are not UTF-8."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anyadbench.names import entries, files_below, is_junk, plain_path, readable

JUNK = (".DS_Store", "._scan.nii.gz", "Thumbs.db", "thumbs.DB", "desktop.ini", "~$table.csv", "__MACOSX", "@eaDir")


def test_junk_is_known_by_its_name() -> None:
    assert all(map(is_junk, JUNK))
    assert not any(map(is_junk, ("scan.nii.gz", "desktop.ini.nii", "~", "DS_Store")))


def test_folders_are_listed_without_junk(tmp_path: Path) -> None:
    for name in (*JUNK, "b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").touch()
    assert [path.name for path in entries(tmp_path)] == ["a", "b"]
    assert list(files_below(tmp_path)) == [tmp_path / "a/x.txt", tmp_path / "b/x.txt"]


@pytest.mark.parametrize(
    ("name", "shown"), [(b"caf\xe9", "caf\\xe9"), ("café".encode(), "café"), (b"a\xff\xfeb", "a\\xff\\xfeb")]
)
def test_names_that_are_not_utf8_are_readable(name: bytes, shown: str) -> None:
    assert readable(os.fsdecode(name)) == shown
    assert readable(shown) == shown and readable("\ud800") == "\\ud800"


def test_a_plain_path_leads_to_the_same_files(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    for name in (b"b\xe9.txt", b"a.txt"):
        (folder / os.fsdecode(name)).write_bytes(name)
    with plain_path(folder) as plain:
        plain.encode("ascii")
        assert [path.read_bytes() for path in sorted(Path(plain).iterdir())] == [b"a.txt", b"b\xe9.txt"]
    with plain_path(folder / "a.txt") as plain:
        plain.encode("ascii")
        assert Path(plain).read_bytes() == b"a.txt"
    assert not os.path.lexists(plain) and len(list(folder.iterdir())) == 2
    with plain_path(tmp_path / "other") as plain:
        assert plain == str(tmp_path / "other")
