"""What one sees while it runs: estimates that wait until they know something, and losses."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from job_fixture import planned

from anyadbench.launch import progress as display_module
from anyadbench.launch.progress import Display, Grid
from anyadbench.progress import Pace, about, pace_of


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        fake = SimpleNamespace(monotonic=lambda: self.now, time=time.time)
        monkeypatch.setattr(display_module, "time", fake)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_phase_begins_without_an_estimate(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    display.progress(1, 1000, "scoring")
    clock.now += 0.001
    display.progress(2, 1000, "scoring")
    clock.now += 20
    display.progress(3, 1000, "scoring")
    first, second = capsys.readouterr().err.splitlines()
    assert first == "scoring: 1/1000"
    assert second == "scoring: 3/1000, about 2 h 46 min left"


def test_resumed_steps_do_not_count_as_done_now(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display, job = Display(), planned(Path("runs"))
    display.event(job, {"phase": "training", "done": 901, "total": 1001})
    clock.now += 20
    display.event(job, {"phase": "training", "done": 911, "total": 1001, "losses": {"cosine": 0.123456, "kl": 2}})
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "mine · tiny · seed 0: training: 911/1001, cosine 0.1235, kl 2, about 3 min left"


def test_the_next_model_of_a_cell_has_an_estimate_of_its_own(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display, job = Display(), planned(Path("runs"))
    for seconds, done in ((0, 1), (1000, 100), (5, 1), (20, 11)):
        clock.now += seconds
        display.event(job, {"phase": "training", "done": done, "total": 100})
    assert capsys.readouterr().err.splitlines()[-1].endswith("training: 11/100, about 3 min left")


@pytest.mark.parametrize("losses", [None, [], "x", {"a": None}, {"a": [1]}])
def test_losses_that_are_none_are_left_out(losses: object, capsys: pytest.CaptureFixture[str]) -> None:
    Display().event(planned(Path("runs")), {"phase": "training", "done": 1, "total": 9, "losses": losses})
    assert capsys.readouterr().err == "mine · tiny · seed 0: training: 1/9\n"


def test_waiting_is_reported_now_and_then(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    for _ in range(40):
        display.progress(0, 0, "waiting for another process on this fit")
        clock.now += 0.5
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_grid_is_estimated_from_its_finished_cells(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    jobs = [planned(Path("runs"), method=name, seed=seed) for name in ("slow", "fast") for seed in range(3)]
    display.watch_cells([job.label for job in jobs], 2)
    display.cell_began(jobs[0])
    display.cell_began(jobs[3])
    clock.now += 100
    display.cell_ended(jobs[3], 1, 6)  # fast: 100 s; the five others are expected to take as long
    display.cell_began(jobs[4])
    clock.now += 100
    display.cell_ended(jobs[4], 2, 6)
    display.cell_began(jobs[5])
    clock.now += 800
    display.cell_ended(jobs[0], 3, 6)  # slow: 1000 s
    display.cell_began(jobs[1])
    clock.now += 60
    display.cell_ended(jobs[5], 4, 6)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "cells: 1/6, about 3 min left"  # running 0 and waiting 4 times 100 s, in 2 slots
    assert lines[-1] == "cells: 4/6, about 16 min left"  # 940 s and 1000 s, at once or in turn
    assert lines[-1] != lines[0]


def test_a_cell_that_fails_at_once_does_not_count(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    jobs = [planned(Path("runs"), seed=seed) for seed in range(4)]
    display.watch_cells([job.label for job in jobs], 1)
    for number, (job, seconds) in enumerate(zip(jobs, (3, 600, 600), strict=False), 1):
        display.cell_began(job)
        clock.now += seconds
        display.cell_ended(job, number, 4, finished=seconds > 3)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["cells: 1/4", "cells: 2/4, about 20 min left", "cells: 3/4, about 10 min left"]


def test_a_grid_takes_at_least_its_longest_cell() -> None:
    grid = Grid(["a · x", "b · x"], 4)
    assert grid.left(0, {}) is None
    grid.begin("a · x", 0)
    grid.begin("b · x", 0)
    grid.end("a · x", 10)
    assert grid.left(30, {"b · x": 500.0}) == 500.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""), (0.0, "a few seconds left"), (4.9, "a few seconds left"), (5.2, "about 5 s left"),
        (89.0, "about 89 s left"), (600.0, "about 10 min left"), (7500.0, "about 2 h 5 min left"),
        (200_000.0, "about 55 h left"),
    ],
)  # fmt: skip
def test_durations_in_words(seconds: float | None, words: str) -> None:
    assert about(seconds) == words


def test_an_estimate_goes_down_between_two_reports_and_never_below_zero() -> None:
    pace = Pace(first=0, began=0.0, done=10, total=20, now=10.0)
    assert (pace.left(), pace.left(14.0), pace.left(1000.0)) == (10.0, 6.0, 0.0)
    assert Pace(0, 0.0, 20, 20, 10.0).left() is None


@pytest.mark.parametrize("record", [{}, {"first": "x"}, {"first": 0, "began": float("nan"), "done": 1, "total": 2}])
def test_a_damaged_record_gives_no_pace(record: dict[str, object]) -> None:
    assert pace_of(record) is None


def test_bars_show_the_same_estimates(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    with Display() as display:
        display.event(planned(Path("runs")), {"phase": "training", "done": 3, "total": 9, "losses": {"[bold]": 1.5}})
        display.note("resumed at step 2 of 9")
        assert display._progress is not None
        display._phases["mine · tiny · seed 0"][1].began -= 60
        display._phases["mine · tiny · seed 0"][1].first = 2
        shown = [
            column.render(display._progress.tasks[0])
            for column in display._progress.columns
            if hasattr(column, "render")
        ]  # type: ignore[attr-defined]
    assert "about 6 min left" in [str(part) for part in shown]
    assert "training, [bold] 1.5" in display._progress.tasks[0].description.replace("\\", "")
