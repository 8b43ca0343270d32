"""Numbers on the command line and among a launcher's settings: finite, in range, and refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from job_fixture import planned

from anyadbench.cli import cli
from anyadbench.cli.options import Finite, parse_duration
from anyadbench.errors import UserError
from anyadbench.launch.launchers import LaunchOptions, local, slurm
from anyadbench.launch.progress import Display

NUMBERS = [name for name, kind in slurm.SETTINGS.items() if kind is not None]
TEXTS = [name for name, kind in slurm.SETTINGS.items() if kind is None]


def launch(tmp_path: Path, name: str, text: str) -> None:
    job = planned(tmp_path, policy={"threads": 1, "device": "cpu"})
    slurm.launch([job], LaunchOptions(Display(quiet=True), 0, {name: text}))


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", ["nan", "inf", "-1", "-inf", "1e400", "", "many", "9" * 5000])
def test_a_number_out_of_range_is_one_sentence_with_its_unit(
    name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "_round", lambda *given: pytest.fail("it was submitted"))
    kind = slurm.SETTINGS[name]
    assert kind is not None
    with pytest.raises(UserError) as caught:
        launch(tmp_path, name, text)
    said = str(caught.value)
    assert said.startswith(f"--launcher-option {name}={text} is out of range; give a")
    assert f"number of {kind.unit} from " in said and said.endswith(".")


@pytest.mark.parametrize("name", [name for name in NUMBERS if name != "gpus"])
def test_nothing_is_no_number_of_anything(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--launcher-option {name}=0 is out of range"):
        launch(tmp_path, name, "0")


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("text", ["", "gpu\n#SBATCH --wrap=x"])
def test_a_text_that_is_no_name_is_one_sentence(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--launcher-option {name}=.* is no name; give one on one line"):
        launch(tmp_path, name, text)


def test_the_local_launcher_passes_over_no_setting(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="--launcher-option partition: the launcher local has no such setting. Known: fork."
    ):
        local.launch([], LaunchOptions(Display(quiet=True), 0, {"partition": "gpu"}))


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("90m", 90), ("2h", 120), ("1d", 1440), ("2:00:00", 120), ("0:00:30", 1), ("1-02:30:00", 1590)],
)
def test_a_time_may_be_written_as_slurm_does(text: str, minutes: int) -> None:
    assert slurm._parse({"time": text, "mem_gb": "2.5", "gpus": "0"}) == {"time": minutes, "mem_gb": 2.5, "gpus": 0}


@pytest.mark.parametrize("text", ["2:00", "0:00:00", "9999999d", "1:2:3", "soon", f"{'9' * 99}:00:00"])
def test_a_time_that_is_none_says_how_to_write_one(text: str) -> None:
    with pytest.raises(
        UserError, match=f"time={text} is out of range; give a whole number of minutes .* 2h or 2:00:00"
    ):
        slurm._parse({"time": text})


@pytest.mark.parametrize("text", ["9" * 400, "11000000h"])
def test_a_duration_is_finite(text: str) -> None:
    with pytest.raises(UserError, match="--time-limit .* is longer than ten years; give a shorter time"):
        parse_duration("--time-limit", text)


def commands(group: click.Command, *names: str) -> list[tuple[tuple[str, ...], click.Option]]:
    if isinstance(group, click.Group):
        below = [
            (name, group.get_command(click.Context(group), name)) for name in group.list_commands(click.Context(group))
        ]
        return [found for name, command in below if command is not None for found in commands(command, *names, name)]
    return [(names, option) for option in group.params if isinstance(option, click.Option)]


CHECKED = {("predict", "threshold"), ("predict", "smallest_ml")}
"""Options whose own sentences, which the Python interface shares, have tests in tests/predict."""


def test_every_number_of_the_command_line_has_a_finite_range() -> None:
    numbers: list[Any] = []
    for names, option in commands(cli):
        kind = option.type
        if isinstance(kind, click.types.FloatParamType | click.types.IntParamType):
            numbers.append((names, option.name))
            if (names[-1], option.name) not in CHECKED:
                assert isinstance(kind, Finite | click.IntRange), (names, option.name)
                assert isinstance(kind, Finite) or kind.min is not None, (names, option.name)
    assert len(numbers) > 12


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999"])
@pytest.mark.parametrize("option", ["--tolerance", "--threshold"])
def test_a_number_that_is_not_finite_is_refused(option: str, text: str) -> None:
    command = click.command()(click.option(option, "value", type=Finite())(lambda value: click.echo(value)))
    done = CliRunner().invoke(command, [f"{option}={text}"])
    assert done.exit_code == 2 and "is not a finite number; give one such as 0.5." in done.output
    assert CliRunner().invoke(command, [f"{option}=-2.5"]).output.strip() == "-2.5"
