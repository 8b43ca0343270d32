"""An error in a plugin on the command line: one sentence, and with ``--traceback`` all of it."""

from __future__ import annotations

from collections.abc import Callable

import click
import pytest

from anyadbench.cli import COMMANDS, LazyGroup, main
from anyadbench.cli.blame import plugin_errors, traceback_option
from anyadbench.errors import PluginError, UserError


def fails() -> None:
    from anyadbench_baselines import stfpm

    stfpm.Stfpm(None)  # type: ignore[arg-type]


def exit_code(monkeypatch: pytest.MonkeyPatch, body: Callable[[], None], *arguments: str) -> int:
    @click.command()
    @traceback_option
    def command(traceback: bool) -> None:
        with plugin_errors(traceback):
            body()

    monkeypatch.setattr(LazyGroup, "get_command", lambda *arguments: command)
    with pytest.raises(SystemExit) as ended:
        main(["score", *arguments])
    return int(ended.value.code or 0)


def test_the_sentence_names_the_place(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(monkeypatch, fails) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: anyadbench_baselines/stfpm.py:")
    assert said.endswith("; --traceback shows all of it.\n") and said.count("\n") == 1


def test_the_option_shows_all_of_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(monkeypatch, fails, "--traceback") == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "  | Traceback (most recent call last):"
    assert said[-1].startswith("Error: anyadbench_baselines/stfpm.py:") and "--traceback" not in said[-1]


def test_a_mistake_of_the_user_stays_one_and_shows_its_cause(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def mistaken() -> None:
        raise UserError("Wrong; fix it.") from ValueError("the cause")

    assert exit_code(monkeypatch, mistaken) == 2
    assert capsys.readouterr().err == "Error: Wrong; fix it.\n"
    assert exit_code(monkeypatch, mistaken, "--traceback") == 2
    assert "  | ValueError: the cause" in capsys.readouterr().err


def test_an_error_of_anyadbench_itself_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), plugin_errors(False):
        1 / 0  # noqa: B018
    assert issubclass(PluginError, UserError)


@pytest.mark.parametrize("name", ["run", "export", "predict", "score"])
def test_every_command_that_runs_a_method_has_the_option(name: str) -> None:
    command = LazyGroup(name="anyadbench").get_command(click.Context(click.Command("x")), name)
    assert name in COMMANDS and command is not None
    assert "--traceback" in [text for option in command.params for text in option.opts]


def test_the_check_of_a_plugin_has_it_too() -> None:
    from anyadbench.cli.plugin import check

    assert "--traceback" in [text for option in check.params for text in option.opts]
