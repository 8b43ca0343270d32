"""Boards from the cache have the bytes of boards built anew, and anything that changed is noticed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from boards_fixture import DEFAULT_METHODS, FakeMethod, write_runs
from rich.console import Console

from anyadbench.boards import build, build_boards, cache, load_boards, print_board
from anyadbench.boards.as_json import from_json, to_json
from anyadbench.paths import cache_dir


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANYADBENCH_CACHE", str(tmp_path / "cache"))
    return write_runs(tmp_path / "runs", (*DEFAULT_METHODS[:2], FakeMethod("own", "Own", 1.0, replicates=True)))


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The runs folders whose boards are built, not read."""
    made: list[Path] = []
    original = build._made

    def watched(runs: Path, *rest: object) -> cache.Kept:
        made.append(runs)
        return original(runs, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(build, "_made", watched)
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def printed(runs: Path, out: Path) -> str:
    stream = io.StringIO()
    for one in build_boards(runs, out):
        print_board(one.board, console=Console(file=stream, width=100, highlight=False))
    return stream.getvalue()


def test_bytes_and_terminal_are_those_of_new_boards(runs: Path, tmp_path: Path, built: list[Path]) -> None:
    first, second = (printed(runs, tmp_path / name) for name in ("new", "cached"))
    assert built == [runs] and first == second
    new = contents(tmp_path / "new")
    assert len(new) >= 5 and new == contents(tmp_path / "cached")


def _changed_cell(runs: Path) -> None:
    path = next(runs.rglob("result.json"))
    path.write_text(path.read_text() + " ")


def _new_file(runs: Path) -> None:
    (next(runs.rglob("result.json")).parent / "note.txt").write_text("")


def _damaged_body(runs: Path) -> None:
    (path,) = (cache_dir() / "boards").iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _cut_short(runs: Path) -> None:
    (path,) = (cache_dir() / "boards").iterdir()
    path.write_bytes(path.read_bytes()[:100])


def _replaced(runs: Path) -> None:
    (path,) = (cache_dir() / "boards").iterdir()
    path.write_text("something else")


@pytest.mark.parametrize("change", [_changed_cell, _new_file, _damaged_body, _cut_short, _replaced])
def test_a_change_is_noticed(runs: Path, tmp_path: Path, built: list[Path], change: object) -> None:
    before = printed(runs, tmp_path / "out")
    change(runs)  # type: ignore[operator]
    assert printed(runs, tmp_path / "out") == before and built == [runs, runs]
    build_boards(runs, tmp_path / "out")
    assert built == [runs, runs]


def test_other_code_and_libraries_count(
    runs: Path, tmp_path: Path, built: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    build_boards(runs, tmp_path / "out")
    for name in ("_code", "_versions"):
        with monkeypatch.context() as patch:
            patch.setattr(cache, name, lambda: ["other"])
            build_boards(runs, tmp_path / "out")
    assert built == [runs] * 3
    assert any(name == "boards/render/templates/page.css" for name, _ in cache._code())


def test_what_plugins_add_is_never_cached(
    runs: Path, tmp_path: Path, built: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_added_by_plugins", lambda: True)
    for _ in range(2):
        build_boards(runs, tmp_path / "out")
    assert built == [runs, runs] and not (cache_dir() / "boards").exists()


def test_links_are_not_trusted(runs: Path, tmp_path: Path, built: list[Path]) -> None:
    (tmp_path / "elsewhere").write_text("")
    (next(runs.rglob("result.json")).parent / "link").symlink_to(tmp_path / "elsewhere")
    for _ in range(2):
        build_boards(runs, tmp_path / "out")
    assert built == [runs, runs]


def test_every_value_comes_back(runs: Path) -> None:
    boards = load_boards(runs)
    value = ({("a", 1): boards, "nan": [float("inf"), 0.1 + 0.2, -0.0]}, Path("x/y"), True, None)
    assert repr(from_json(to_json(value))) == repr(value)
    again = from_json(to_json(boards))
    assert again == boards and again[0].lines[0].sources == boards[0].lines[0].sources


def test_nothing_else_is_written_or_read() -> None:
    with pytest.raises(TypeError, match="Console is no part of a board"):
        to_json(Console())
    with pytest.raises(KeyError):
        from_json('{"cells":[],"body":{"class":"Console","of":{"dict":[]}}}')
