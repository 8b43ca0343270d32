"""The one atomic writer, the one lock, and the one sentence for an error of the operating system."""

from __future__ import annotations

import errno
import gzip
import os
import pickle
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from full_disk import BelievedDisk, RealDisk, contents, mounted

from anyadbench import files
from anyadbench.errors import DiskError, UserError
from anyadbench.files import (
    CACHE,
    atomic_file,
    atomic_text,
    explain_os_error,
    link_or_copy,
    lock,
    make_folder,
    remove_leftovers,
    write_bytes,
    write_json,
    write_note,
    write_text,
    write_together,
)
from anyadbench.folders import atomic_folder, temporary_folder, written_as

NOISE = np.random.default_rng(0).random((64, 64))


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.parametrize(
    ("option", "choose"), [("--out", "give --out"), (CACHE, "set ANYADBENCH_CACHE to"), ("", "name")]
)
def test_the_sentence_names_what_chose_the_folder(option: str, choose: str) -> None:
    full = explain_os_error(OSError(errno.EDQUOT, "Disk quota exceeded"), Path("a/b"), option)
    assert str(full) == (
        f"The disk is full while writing a/b; free some space, or {choose} a folder on another disk, and run the same "
        "command again: finished work is kept."
    )
    refused = explain_os_error(PermissionError(errno.EACCES, "Permission denied"), Path("a/b"), option)
    assert str(refused) == f"a/b cannot be written (Permission denied); {choose} a folder that you may write to."


def test_other_errors_stay_what_they_are() -> None:
    error = OSError(errno.EIO, "Input/output error")
    assert explain_os_error(error, Path("a")) is error


def test_a_worker_process_can_hand_the_error_on() -> None:
    error = explain_os_error(OSError(errno.ENOSPC, "No space left on device"), Path("a"))
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, DiskError) and str(again) == str(error)
    assert again.path == Path("a") and again.cause.errno == errno.ENOSPC


def test_a_file_may_be_read_by_whom_the_umask_allows(umask: None, tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "a")
    with atomic_folder(tmp_path / "folder") as work:
        make_folder(work / "below")
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750


def test_text_is_written_as_it_is(tmp_path: Path) -> None:
    with atomic_text(tmp_path / "a.csv") as handle:
        handle.write("a,é\r\nb\n")
    assert (tmp_path / "a.csv").read_bytes() == "a,é\r\nb\n".encode()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_of_the_writer_keeps_the_old_file(error: type[BaseException], tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(error), atomic_file(tmp_path / "a.txt") as handle:
        handle.write(b"new")
        raise error
    with pytest.raises(error), atomic_text(tmp_path / "a.txt") as text:
        text.write("new")
        raise error
    assert contents(tmp_path) == {"a.txt": b"old"}


def test_an_error_about_another_file_is_not_taken_for_this_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_file(tmp_path / "a") as handle:
        handle.write((tmp_path / "missing").read_bytes())


@pytest.mark.parametrize(
    ("folder", "cause"),
    [("missing", "No such file or directory"), ("file", "Not a directory"), ("x" * 300, "File name")],
)
def test_a_place_that_cannot_be_written_is_a_sentence(folder: str, cause: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=rf"cannot be written \({cause}.*\); give --out a folder"):
        write_text(tmp_path / folder / "a.txt", "a", "--out")


def test_a_folder_in_the_place_of_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match=r"a cannot be written \(Is a directory\)"):
        write_text(tmp_path / "a", "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_in_the_place_of_a_folder_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(UserError, match=r"a cannot be written \(Not a directory\); set ANYADBENCH_CACHE to a folder"):
        make_folder(tmp_path / "a", CACHE)


def test_a_name_of_any_length_that_the_disk_allows_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / ("é" * 127), "a")
    assert contents(tmp_path) == {"é" * 127: b"a"}


class Foreign:
    """Writers of other libraries; each hides a full disk in its own way."""

    @staticmethod
    def savez(path: Path) -> None:
        with atomic_file(path) as handle:
            np.savez_compressed(handle, a=NOISE)

    @staticmethod
    def save_past_the_file_object(path: Path) -> None:
        with atomic_file(path) as handle:
            np.save(handle, NOISE)  # writes to the descriptor

    @staticmethod
    def torch(path: Path) -> None:
        with atomic_file(path) as handle:
            torch.save({"a": torch.rand(10_000)}, handle)

    @staticmethod
    def zip(path: Path) -> None:
        with atomic_file(path) as handle, zipfile.ZipFile(handle, "w") as archive, archive.open("a", "w") as entry:
            entry.write(NOISE.tobytes())

    @staticmethod
    def gzip(path: Path) -> None:
        with atomic_file(path) as handle, gzip.GzipFile("", "wb", fileobj=handle) as packed:
            packed.write(NOISE.tobytes())

    @staticmethod
    def wrapped(path: Path) -> None:
        with atomic_file(path) as handle:
            try:
                handle.write(NOISE.tobytes())
            except OSError:
                raise RuntimeError("a library's own error, without the cause") from None


@pytest.mark.parametrize("name", [name for name in vars(Foreign) if not name.startswith("_")])
@pytest.mark.parametrize("left", [0, 8192])
def test_a_full_disk_inside_another_librarys_writer_is_the_sentence(name: str, left: int, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk") as root:
        disk = RealDisk(root)
        write_text(disk.folder / "a", "old")
        with disk.leaving(left), pytest.raises(UserError, match="The disk is full while writing"):
            getattr(Foreign, name)(disk.folder / "a")
        assert contents(disk.folder) == {"a": b"old"}
        getattr(Foreign, name)(disk.folder / "a")


def test_files_written_together_get_their_names_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda source, target: (events.append(target.name), replace(source, target)))
    parts = {tmp_path / "b": b"1", tmp_path / "a": lambda handle: handle.write(b"2"), tmp_path / "c": b"3"}
    write_together(parts, written=lambda: events.append("written"))
    assert events == ["written", "b", "a", "c"]
    assert contents(tmp_path) == {"b": b"1", "a": b"2", "c": b"3"}


def test_files_written_together_are_replaced_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [tmp_path / name for name in "abc"]
    write_together(dict.fromkeys(names, b"old"))
    for left in (0, 10_000, 25_000):
        disk = BelievedDisk(tmp_path, monkeypatch)
        with disk.leaving(left), pytest.raises(UserError, match="The disk is full"):
            write_together(dict.fromkeys(names, bytes(10_000)))
        assert contents(tmp_path) == dict.fromkeys("abc", b"old")


def test_a_link_is_made_whatever_is_there(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("a")
    (tmp_path / "other").write_text("b")
    for target in ("new", "other", "other"):
        link_or_copy(tmp_path / "source", tmp_path / target)
        assert os.path.samefile(tmp_path / "source", tmp_path / target)
    assert len(list(tmp_path.iterdir())) == 3


def test_where_links_are_not_possible_a_copy_is_made_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "source").write_bytes(NOISE.tobytes())
    with BelievedDisk(tmp_path, monkeypatch).leaving(9000), pytest.raises(UserError, match="The disk is full"):
        link_or_copy(tmp_path / "source", tmp_path / "target")
    assert list(contents(tmp_path)) == ["source"]
    link_or_copy(tmp_path / "source", tmp_path / "target")
    assert contents(tmp_path)["target"] == NOISE.tobytes()


def test_leftovers_of_killed_processes_are_removed_and_no_others(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom anyadbench.files import atomic_file\n"
        "with atomic_file(Path(sys.argv[1])) as handle:\n"
        "    handle.write(b'half')\n    handle.flush()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], check=False).returncode == -9
    (tmp_path / ".mine.tmp").write_text("mine")
    assert len(contents(tmp_path)) == 2
    with atomic_file(tmp_path / "b") as handle:
        remove_leftovers(tmp_path)
        handle.write(b"whole")
    assert contents(tmp_path) == {".mine.tmp": b"mine", "b": b"whole"}


def test_a_note_is_left_out_where_the_cache_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    write_note(tmp_path / "file" / "note.json", {"a": 1})
    write_note(tmp_path / "cache" / "note.json", {"a": 1})
    assert contents(tmp_path) == {"file": b"", "cache/note.json": b'{"a": 1}'}


def test_json_with_numbers_that_json_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert contents(tmp_path) == {}


def test_a_lock_names_what_chose_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="set ANYADBENCH_CACHE to a folder that"),
        lock(tmp_path / "file/x", option=CACHE),
    ):
        pass

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    sentence = r"cannot be locked \(No locks available\); give --out a folder on a file system"
    with pytest.raises(UserError, match=sentence), lock(tmp_path / "lock", option="--out"):
        pass
    write_text(tmp_path / "a", "files need none")
    assert (tmp_path / "a").read_text() == "files need none"


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop"), atomic_folder(tmp_path / "new") as work:
        write_text(work / "a", "a")
        raise ValueError("stop")
    assert list(tmp_path.iterdir()) == []
    with atomic_folder(tmp_path / "above" / "new") as work:
        write_text(work / "a", "a")
    assert contents(tmp_path) == {"above/new/a": b"a"}


def test_an_empty_folder_is_filled_and_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    before = (tmp_path / "here").stat().st_ino
    monkeypatch.chdir(tmp_path / "here")
    with atomic_folder(Path()) as work:
        make_folder(work / "b")
        write_text(work / "b" / "c", "c")
        write_text(work / "a", "a")
    assert (tmp_path / "here").stat().st_ino == before
    assert contents(tmp_path) == {"here/a": b"a", "here/b/c": b"c"}


def test_a_mount_point_is_filled(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk") as root:
        with atomic_folder(root) as work:
            write_text(work / "a", "a")
        assert contents(root) == {"a": b"a"}


def test_a_folder_is_replaced_when_the_new_one_is_whole(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with atomic_folder(tmp_path / "a", replace=True) as work:
            write_text(work / text, text)
    assert contents(tmp_path) == {"a/new": b"new"}
    with pytest.raises(KeyError), atomic_folder(tmp_path / "a", replace=True) as work:
        write_text(work / "newer", "newer")
        raise KeyError
    assert contents(tmp_path) == {"a/new": b"new"}


def test_an_error_within_a_working_folder_names_the_target(tmp_path: Path) -> None:
    def refused(work: Path) -> None:
        write_bytes(work / "missing" / "a", b"", "--runs")

    def full(work: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for fail, sentence in ((refused, "new cannot be written"), (full, "The disk is full while writing .*/new")):
        with (
            pytest.raises(UserError, match=rf"{sentence}.* --out ") as caught,
            temporary_folder(tmp_path / "new", "--out") as work,
        ):
            fail(work)
        assert ".tmp" not in str(caught.value)
    with pytest.raises(FileNotFoundError), temporary_folder(tmp_path / "new", "--out"):
        (tmp_path / "source").read_bytes()


def test_an_error_elsewhere_keeps_its_own_name(tmp_path: Path) -> None:
    sentence, out = "elsewhere/missing/a cannot be written .* --runs", tmp_path / "out"
    with pytest.raises(UserError, match=sentence), written_as(out / "new", out / "work", "--out"):
        write_text(tmp_path / "elsewhere" / "missing" / "a", "a")
