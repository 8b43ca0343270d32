"""``anyadbench calibrate``: a cell's thresholds and percentiles from a site's own normals."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anyadbench.cli.blame import plugin_errors, traceback_option
from anyadbench.cli.options import PATH, THREADS, cell_option, device_option, json_option

if TYPE_CHECKING:
    from anyadbench.predict.findings.calibrate import Calibrator


@click.command()
@cell_option
@click.option("--normals", type=PATH, help="Folder of healthy or lesion-free scans, in a known layout.")
@click.option("--dataset", help="Layout of --normals, see 'anyadbench datasets'; recognised by default.")
@click.option("--table", type=PATH, help="Instead of --normals: a CSV with patient,flair,t1,t1ce,t2.")
@click.option("--subset", "subsets", multiple=True, help="Subset to calibrate, such as F+T1; all by default.")
@click.option("--raw", is_flag=True, help="Scans as a scanner gives them: the same as --prepare all.")
@click.option("--prepare", metavar="STEPS", help="As in 'anyadbench predict': none (default), auto, all, or steps.")
@click.option("--out", required=True, type=PATH, help="Folder to write into.")
@device_option
@click.option("--threads", type=THREADS, help="CPU threads; the cell's by default.")
@json_option("the calibration")
@traceback_option
def calibrate(cell: Path, out: Path, as_json: bool, traceback: bool, **options: Any) -> None:
    """Set a cell's thresholds, percentiles and alarms from your own normals.

    Give scans without lesions, prepared as your patients' will be: at least 5 subjects for a threshold, and 19 for an
    alarm that at most 5 % of normals set off. 'anyadbench predict --calibration' uses the result. The same command
    resumes where it stopped. For research use only; not a medical device.
    """
    from anyadbench.cli.output import clean
    from anyadbench.cli.predict import NO_PATIENTS_FAULT, load_predictor, plan_of, sentence_of
    from anyadbench.predict.findings.normals_given import given_normals

    def said(text: str) -> None:
        click.echo(clean(text), err=True)

    plan = plan_of(options)
    patients, source = given_normals(options["normals"], options["dataset"], options["table"], said)
    from anyadbench.launch.progress import Display
    from anyadbench.predict.findings.calibrate import Calibrator

    with plugin_errors(traceback):
        predictor = load_predictor(cell, {**options, "weights": None})
    notes: list[str] = []
    calibrator = Calibrator(predictor, out, _labels(options["subsets"]), plan, notes.append)
    failed = []
    for number, patient in enumerate(patients, 1):
        label = f"{number}/{len(patients)} {clean(patient.name)}"
        try:
            with plugin_errors(traceback), Display() as display:
                calibrator.add(patient, partial(display.progress, label=f"{label}: slices"))
        except NO_PATIENTS_FAULT:
            raise
        except Exception as error:  # whatever it is, the other scans count
            failed.append(patient.name)
            click.echo(f"{label}: {clean(sentence_of(error, traceback))}", err=True)
        for note in notes:  # after the progress, which would move it
            said(f"{patient.name}: {note}")
        notes.clear()
    record = calibrator.write(source, len(failed))
    if as_json:
        from anyadbench.cli.output import print_json

        print_json(record)
    else:
        _show(record, calibrator)
    if failed:
        click.echo(f"{len(failed)} of {len(patients)} scans could not be used: {', '.join(failed)}.", err=True)
        raise SystemExit(1)


def _labels(subsets: tuple[str, ...]) -> list[str]:
    from anyadbench.sequences import format_subset, parse_subset

    return [format_subset(parse_subset(text)) for text in subsets]


def _show(record: dict[str, Any], calibrator: Calibrator) -> None:
    from anyadbench.predict.findings.sentences import subset_line

    counts = record["counts"]
    click.echo(f"Calibrated on {counts['scans']} scans of {counts['subjects']} subjects: {calibrator.out}")
    for label, entry in record["subsets"].items():
        click.echo(subset_line(label, entry))
    for note in record["notes"]:
        click.echo(note, err=True)
