"""``anyadbench export``: a cell's method as ONNX or TorchScript."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from anyadbench.cli.blame import plugin_errors, traceback_option
from anyadbench.cli.options import PATH, cell_option, json_option
from anyadbench.predict import check_packages

SUFFIX = {"onnx": ".onnx", "torchscript": ".pt"}


@click.command()
@cell_option
@click.option("--format", "kind", required=True, type=click.Choice(list(SUFFIX)), help="File format.")
@click.option("--out", type=PATH, help="File to write; METHOD.onnx or METHOD.pt by default.")
@click.option("--weights", metavar="file:PATH", help="Current path of the pretrained weights that the cell uses.")
@json_option("path, size, latency and difference")
@traceback_option
def export(cell: Path, kind: str, out: Path | None, weights: str | None, as_json: bool, traceback: bool) -> None:
    """Export a cell's method as one graph from slices and availability to maps and scores.

    The command checks the graph against the method for every subset of sequences, prints its size and latency, and
    describes its inputs and outputs in a JSON file beside it. For research use only; not a medical device.
    """
    check_packages(kind)
    from anyadbench.predict.cell import read_cell

    trained = read_cell(cell)
    from anyadbench.predict.export import export as write_graph
    from anyadbench.predict.predictor import load_with

    with plugin_errors(traceback):
        predictor = load_with(trained, device="cpu", weights=weights)
        found = write_graph(predictor, kind, out or Path(trained.job.method.replace(":", "-") + SUFFIX[kind]))
    facts: dict[str, Any] = {
        "path": str(found.path), "megabytes": found.megabytes, "difference": found.difference,
        "milliseconds": found.milliseconds, "eager_milliseconds": found.eager_milliseconds,
    }  # fmt: skip
    if as_json:
        from anyadbench.cli.output import print_json

        print_json(facts)
        return
    click.echo(
        f"{found.path}: {found.megabytes:.1f} MB; one slice {found.milliseconds:.1f} ms on the CPU (the method itself "
        f"{found.eager_milliseconds:.1f} ms); maps differ by at most {found.difference:.1g}"
    )
