"""``anyadbench score-boxes``: numbers of maps where lesions are marked by boxes."""

from __future__ import annotations

from pathlib import Path

import click

from anyadbench.cli.options import PATH, Finite, json_option

_TITLES = {
    "hit_rate": "images whose highest pixel lies in a box",
    "acc50": "images with a detection that overlaps a box by .5",
    "ap30": "AP at an overlap of .3",
    "ap50": "AP at an overlap of .5",
    "ap": "AP, mean over overlaps of .5 to .95",
    "froc": "mean sensitivity at 1/8 to 8 false alarms per image",
    "sensitivity": "boxes found",
    "alarms_per_image": "false alarms per image",
}


@click.command("score-boxes")
@click.option("--maps", type=PATH, required=True, help="Folder with one IMAGE.npy (H x W) for each image.")
@click.option(
    "--boxes", type=PATH, required=True, help="Table with filename, x, y, width, height (NOVA: bboxes_gold.csv)."
)
@click.option(
    "--threshold", type=Finite(), help="Pixels above it form detections; the 99 % quantile of all by default."
)
@json_option("the numbers")
def score_boxes(maps: Path, boxes: Path, threshold: float | None, as_json: bool) -> None:
    """Score anomaly maps of images whose lesions are marked by boxes, such as NOVA's.

    A detection is the bounding box of pixels above the threshold that touch each other. It finds a box that it overlaps
    by at least .3, or as the number says. Every number but the first depends on the threshold.
    """
    from anyadbench.cli.output import print_json, print_table
    from anyadbench.external.box_maps import as_json as plain
    from anyadbench.external.box_maps import score_boxes as score

    found = score(maps, boxes, threshold)
    for note in found.notes:
        click.echo(f"Note: {note}", err=True)
    if as_json:
        print_json(plain(found))
        return
    print_table(["number", "value", "what it is"], [[n, f"{v:.3f}", _TITLES[n]] for n, v in found.metrics.items()])
    click.echo(f"{found.images} images with {found.boxes} boxes; detections above {found.threshold:.4g}.")
