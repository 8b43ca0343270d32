"""The command line: one module per command, imported when the command is chosen."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from anyadbench.errors import PluginError, UserError
from anyadbench.version import __version__

COMMANDS = {
    "calibrate": ("anyadbench.cli.calibrate:calibrate", "Set a finished cell's thresholds from your own normals."),
    "card": ("anyadbench.cli.card:card", "Write the model card of a finished cell."),
    "compare": ("anyadbench.cli.compare:compare", "Compare two methods on the same subjects."),
    "data": ("anyadbench.cli.data:data", "Verify a data set, prepare its slice store, and export it."),
    "datasets": ("anyadbench.cli.datasets:datasets", "List data sets, or show where to get one."),
    "doctor": ("anyadbench.cli.doctor:doctor", "Check versions, devices, caches and weights, and show fixes."),
    "encoders": (
        "anyadbench.cli.encoders:encoders",
        "List pretrained networks, and where each comes from.",
    ),
    "export": ("anyadbench.cli.export:export", "Write a finished cell's method as ONNX or TorchScript."),
    "leaderboard": (
        "anyadbench.cli.leaderboard:leaderboard",
        "Build boards from cells, and check submissions.",
    ),
    "methods": ("anyadbench.cli.methods:methods", "List methods, or show one."),
    "parity": ("anyadbench.cli.parity:parity", "Compare methods with numbers from the authors' own code."),
    "plugin": ("anyadbench.cli.plugin:plugin", "Start a new method, or check one against the contract."),
    "plugins": ("anyadbench.cli.plugins:plugins", "List plugins, with the problems of broken ones."),
    "predict": ("anyadbench.cli.predict:predict", "Write anomaly maps of new patients with a finished cell."),
    "protocols": ("anyadbench.cli.protocols:protocols", "List protocols, or show one."),
    "score": ("anyadbench.cli.score:score", "Score another program's maps as a marked row."),
    "score-boxes": (
        "anyadbench.cli.score_boxes:score_boxes",
        "Score maps of images whose lesions are marked by boxes.",
    ),
    "run": ("anyadbench.cli.run:run", "Train and score methods on a protocol and print the board."),
    "runs": ("anyadbench.cli.runs:runs", "List cells with state, age and size; rerun or prune them."),
}
"""Command name: (module:object, one-line help), so that --help imports no command."""


_ARGUMENTS = "anyadbench.arguments"


def command_line(arguments: Sequence[str] | None = None) -> str:
    """Return the command that this process was started with, quoted for a shell.

    Args:
        arguments: Its arguments; by default those of the command that is running.
    """
    import shlex

    if arguments is None:
        context = click.get_current_context(silent=True)
        arguments = context.meta.get(_ARGUMENTS, []) if context is not None else []
    module = Path(sys.argv[0]).name == "__main__.py"
    return shlex.join([*([sys.executable, "-m"] if module else []), "anyadbench", *arguments])


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Keep the arguments, so that a command that is stopped can show how to go on."""
        given = list(args)
        context = super().make_context(info_name, args, parent, **extra)
        context.meta[_ARGUMENTS] = given
        return context

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; return ``None`` for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command; an unknown one is an error with a suggestion."""
        if args and args[0] not in COMMANDS:
            from anyadbench.errors import suggest

            raise UserError(f"Unknown command {args[0]!r}.{suggest(args[0], list(COMMANDS))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "ANYADBENCH"}
)
@click.version_option(__version__, prog_name="anyadbench")
def cli() -> None:
    """Benchmark any-modality anomaly detection in multi-sequence brain MRI."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; user mistakes end with one sentence and exit code 2."""
    _write_any_text()
    try:
        code = cli.main(args=arguments, prog_name="anyadbench", standalone_mode=False)
    except UserError as error:
        _say(str(error))
        code = 1 if isinstance(error, PluginError) else 2
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        # Click turns Ctrl-C into its own exception; ours names the plugin that was running.
        when = " ".join(map(str, (error.__cause__ or error).args))
        given = sys.argv[1:] if arguments is None else arguments
        stopped = f"Stopped {when}" if when else "Stopped"
        _say(f"{stopped}; run the same command again to resume: {command_line(given)}")
        code = 130
    except BrokenPipeError:
        # The reader of the pipe is gone; keep the interpreter from complaining again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except UnicodeEncodeError as error:
        if not isinstance(error.object, str) or error.encoding.lower().replace("_", "-") == "utf-8":
            raise
        _say(
            f"The system's encoding, {error.encoding}, has no {error.object[error.start : error.end]!r}, which a name "
            "contains; set PYTHONUTF8=1 and run the same command again."
        )
        code = 2
    except OSError as error:
        if error.strerror is None:  # raised by a library, without the system's description
            raise
        _say(system_sentence(error))
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _write_any_text() -> None:
    """Let standard output and error show what their encoding lacks as escapes, instead of failing on it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def system_sentence(error: OSError) -> str:
    """Return one sentence for a system error that no command explains, such as a name that is too long."""
    if error.filename is None:
        return f"{error.strerror}; fix that and run the same command again."
    from anyadbench.cli.output import clean

    place = clean(str(error.filename))
    return f"{place}: {error.strerror}; give another path, or fix this one and run the same command again."


def _say(message: str) -> None:
    click.echo(
        click.style("Error: ", fg="red", bold=True) + message if sys.stderr.isatty() else f"Error: {message}", err=True
    )
