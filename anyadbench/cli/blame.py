"""Errors that a plugin raises, on the command line: one sentence with the place, and the traceback where asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from anyadbench.errors import PluginError, UserError

traceback_option = click.option(
    "--traceback", is_flag=True, help="Show the whole traceback of an error that a plugin raises."
)


@contextmanager
def plugin_errors(show: bool) -> Iterator[None]:
    """Turn an error that a plugin raises into a ``PluginError``; others, such as those of anyadbench, pass.

    Args:
        show: Whether to print the traceback first.

    Raises:
        PluginError: If a plugin raised; the sentence names its last line.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except UserError as error:
        if show and error.__cause__ is not None:
            print_traceback(error.__cause__)
        raise
    except Exception as error:  # a plugin may raise anything
        from anyadbench.plugins.blame import blame

        said = blame(error)
        if not said:
            raise
        if show:
            print_traceback(error)
        raise PluginError(said if show else f"{said}; --traceback shows all of it.") from None


def print_traceback(error: BaseException) -> None:
    """Print an error's traceback to standard error, without control characters."""
    from anyadbench.cli.output import clean
    from anyadbench.plugins.blame import whole

    for line in whole(error).splitlines():
        click.echo(f"  | {clean(line)}", err=True)
