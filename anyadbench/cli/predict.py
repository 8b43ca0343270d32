"""``anyadbench predict``: apply a finished cell to new patients."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from anyadbench.cli.blame import plugin_errors, print_traceback, traceback_option
from anyadbench.cli.options import PATH, THREADS, cell_option, device_option, json_option
from anyadbench.errors import UserError
from anyadbench.sequences import SEQUENCES, SHORT

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyadbench.predict import Predictor
    from anyadbench.predict.batch import Patient
    from anyadbench.predict.findings.settings import Settings
    from anyadbench.predict.prepare.ahead import Ahead
    from anyadbench.predict.prepare.plan import Plan
    from anyadbench.predict.viewer.cohort import Outcome


Command = TypeVar("Command", bound="Callable[..., Any]")

NO_PATIENTS_FAULT = (BrokenPipeError, click.Abort, click.ClickException, click.exceptions.Exit)
"""The reader of the pipe is gone, or the user stopped the command: no patient caused it, so the batch ends."""


def _keep_order(ctx: click.Context, param: click.Parameter, value: tuple[Path, ...]) -> None:
    # Called in the order of the command line: the result has the grid of the first scan given.
    if len(value) > 1:
        raise UserError(f"--{param.name} is given {len(value)} times; give one scan of each sequence.")
    if value:
        ctx.ensure_object(dict)[param.name] = value[0]


def _scan_option(name: str) -> Callable[[Command], Command]:
    text = f"{SHORT[name] if name != 'flair' else 'FLAIR'}: a NIfTI file, or a folder with one DICOM series."
    # multiple, so that a second one can be refused: click would silently take the last.
    return click.option(f"--{name}", type=PATH, multiple=True, callback=_keep_order, expose_value=False, help=text)


def _scan_options(command: Command) -> Command:
    for name in reversed(SEQUENCES):
        command = _scan_option(name)(command)
    return command


@click.command()
@cell_option
@_scan_options
@click.option("--out", required=True, type=PATH, help="Folder to write into.")
@click.option("--name", help="Name of the patient in the report; the folder's name by default.")
@click.option("--data", type=PATH, help="Many patients: a folder in a known layout.")
@click.option("--dataset", help="Layout of --data, see 'anyadbench datasets'; recognised from file names by default.")
@click.option("--table", type=PATH, help="Many patients: a CSV with patient and a column for each sequence.")
@click.option("--scan", type=PATH, help="One patient: a folder whose sequences are recognised (DICOM or NIfTI).")
@click.option("--raw", is_flag=True, help="Scans as a scanner gives them: the same as --prepare all.")
@click.option("--prepare", metavar="STEPS", help="none (default), auto, all, or of register,strip,bias with commas.")
@click.option("--threshold", type=float, help="Pixel threshold; by default the cell's, from validation normals.")
@click.option("--smallest-ml", type=float, help="Smallest cluster of the mask in ml; 0.003 (3 mm³) by default.")
@click.option("--calibration", type=PATH, help="Folder that 'anyadbench calibrate' wrote, for this cell.")
@click.option(
    "--subsets", metavar="LIST", help="Maps from fewer sequences to switch between in the report: 'all', or 'F,F+T1'."
)
@click.option("--dicom-seg", is_flag=True, help="Write the mask as DICOM SEG on each DICOM input too.")
@click.option("--dicom-ids", is_flag=True, help="Keep ids of patient and study in the DICOM SEG; empty by default.")
@click.option(
    "--weights", metavar="file:PATH", help="Path of the cell's pretrained weights, or of a whole published network."
)
@device_option
@click.option("--threads", type=THREADS, help="CPU threads; the cell's by default.")
@json_option("the scores")
@traceback_option
@click.pass_context
def predict(
    ctx: click.Context, /, cell: Path, out: Path, name: str | None, as_json: bool, traceback: bool, **options: Any
) -> None:
    """Write anomaly maps of new patients: NIfTI map and mask, scores as JSON, and a report.

    Give any of --flair, --t1, --t1ce and --t2 for one patient, or --data or --table for many. Scans must be registered
    to one another and skull-stripped, or be prepared with --raw; grids and orientations may differ. The result has the
    first scan's grid. For research use only; not a medical device.
    """
    from anyadbench.predict.findings.settings import read_settings

    _check(options)
    plan = plan_of(options)
    patients = _patients(cell, dict(ctx.obj or {}), out, name, options)
    single = not (options["data"] or options["table"])
    with plugin_errors(traceback):
        predictor = load_predictor(cell, options)
    settings = read_settings(
        predictor.cell, options["threshold"], options["smallest_ml"], options["calibration"], predictor.own
    )
    from anyadbench.cli.output import clean
    from anyadbench.predict.prepare.ahead import Ahead
    from anyadbench.predict.viewer.cohort import Outcome, check_index
    from anyadbench.progress import Pace, about

    if not single:
        check_index(out)
    ahead = Ahead(predictor, patients, plan, wanted=partial(_is_left, predictor, settings, options, plan, out))
    outcomes: list[Outcome] = []
    pace = Pace(0, time.monotonic(), 0, len(patients), time.monotonic())
    for note in predictor.notes:
        click.echo(clean(note), err=True)
    for number, patient in enumerate(patients, 1):
        folder = out if single else out / patient.name
        pace.done, pace.now = number - 1, time.monotonic()
        at = clean(patient.name) if single else f"{number}/{len(patients)} {clean(patient.name)}"
        at += f" ({left} for all)" if (left := about(pace.left())) else ""
        try:
            with plugin_errors(traceback):
                scores = _one(predictor, patient, folder, settings, options, at, as_json, ahead)
            outcomes.append(Outcome(patient.name, scores, subject=patient.subject, scan=patient.scan))
        except NO_PATIENTS_FAULT:
            raise
        except Exception as error:  # whatever it is, the other patients are predicted
            if single:
                raise _alone(error) from error.__cause__
            said = sentence_of(error, traceback)
            took = round(time.monotonic() - pace.now, 3)
            outcomes.append(Outcome(patient.name, {}, said, took, patient.subject, patient.scan))
            click.echo(f"{number}/{len(patients)} {clean(patient.name)}: {clean(said)}", err=True)
    ahead.close()
    _finish(out, outcomes, single, as_json)


def _finish(out: Path, outcomes: list[Outcome], single: bool, as_json: bool) -> None:
    from anyadbench.cli.output import clean, print_json
    from anyadbench.predict.viewer.cohort import write_cohort

    if not single:
        write_cohort(out, outcomes)
        click.echo(f"All patients: {out / 'index.html'}", err=as_json)
    if as_json:
        done = [outcome.scores for outcome in outcomes if not outcome.failure]
        print_json(done[0] if single else done)
    if failed := [clean(outcome.patient) for outcome in outcomes if outcome.failure]:
        click.echo(f"{len(failed)} of {len(outcomes)} patients could not be predicted: {', '.join(failed)}.", err=True)
        raise SystemExit(1)


def _check(options: dict[str, Any]) -> None:
    """Report wrong options once and before any work, not once per patient."""
    from anyadbench.predict.findings.settings import check_numbers

    check_numbers(options["threshold"], options["smallest_ml"])
    if options["subsets"]:
        from anyadbench.predict.viewer.subsets import parse_subsets

        parse_subsets(options["subsets"])
    if options["dicom_ids"] and not options["dicom_seg"]:
        raise UserError("--dicom-ids needs --dicom-seg, whose files would keep the ids; give both, or leave it out.")


def plan_of(options: dict[str, Any]) -> Plan:
    """Return the plan of preparation, from the options ``raw`` and ``prepare``."""
    from anyadbench.predict.prepare.plan import parse_plan

    if options["raw"] and options["prepare"]:
        raise UserError("--raw is the same as --prepare all; give one of the two.")
    return parse_plan("all" if options["raw"] else options["prepare"] or "none")


def _ask(question: str, choices: list[str]) -> int:
    """Let the user choose; 0 is none of them."""
    from anyadbench.cli.output import clean

    click.echo(clean(question), err=True)
    for number, choice in enumerate(choices, 1):
        click.echo(f"  {number}  {choice}", err=True)
    chosen: int = click.prompt("Number (0: none)", type=click.IntRange(0, len(choices)), err=True)
    return chosen


def _wanted(cell: Path) -> tuple[str, ...]:
    """Return the sequences to look for in a folder: the common ones, on which brains are outlined, and the cell's."""
    from anyadbench.predict.cell import read_cell
    from anyadbench.sequences import COMMON, order

    return order([*COMMON, *read_cell(cell).protocol.sequences])


def _patients(
    cell: Path, scans: dict[str, Path], out: Path, name: str | None, options: dict[str, Any]
) -> list[Patient]:
    given = [label for label, value in (("--data", options["data"]), ("--table", options["table"])) if value]
    given += [f"--{sequence}" for sequence in SEQUENCES if sequence in scans][:1] if not options["scan"] else ["--scan"]
    if len(given) != 1:
        cause = f"{given[0]} and {given[1]} cannot be combined" if given else "There is no scan"
        options_of = ", ".join(f"--{sequence}" for sequence in SEQUENCES)
        raise UserError(f"{cause}; give scans of one patient ({options_of}), or --scan, --data, or --table.")
    if options["dataset"] and not options["data"]:
        raise UserError("--dataset names the layout of --data; give --data too, or leave it out.")
    if name is not None and (options["data"] or options["table"]):
        raise UserError(
            f"--name names one patient, and {given[0]} has a name for each of its patients; leave --name out."
        )
    from anyadbench.cli.output import clean
    from anyadbench.predict.batch import Patient, from_folder, from_table

    if options["data"]:
        return from_folder(options["data"], options["dataset"], said=lambda text: click.echo(clean(text), err=True))
    if options["table"]:
        return from_table(options["table"])
    if options["scan"]:
        from anyadbench.predict.prepare.recognise import recognise

        asked = _ask if sys.stdin.isatty() and sys.stderr.isatty() else None
        scans = recognise(options["scan"], scans, asked, _wanted(cell), lambda text: click.echo(clean(text), err=True))
    if options["dicom_seg"]:
        from anyadbench.predict.segments.dicom_seg import check_seg

        check_seg(scans)
    return [Patient(name or out.resolve().name, scans)]


def load_predictor(cell: Path, options: dict[str, Any]) -> Predictor:
    """Return a cell's predictor, for the options ``device``, ``threads`` and ``weights``."""
    from anyadbench.predict.cell import read_cell

    trained = read_cell(cell)
    from anyadbench.engine.numerics import apply_policy
    from anyadbench.predict.predictor import load_with
    from anyadbench.predict.trained_method import prediction_policy

    apply_policy(prediction_policy(trained, options["device"], options["threads"])[0])
    return load_with(trained, device=options["device"], weights=options["weights"], threads=options["threads"])


def sentence_of(error: Exception, traceback: bool = False) -> str:
    """Return one sentence for an error that concerns one patient only.

    Args:
        error: The error.
        traceback: Whether to print the traceback of an error that nobody foresaw.
    """
    from anyadbench.cli import system_sentence
    from anyadbench.engine.numerics import NotFinite
    from anyadbench.plugins.blame import described

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError):
        return system_sentence(error) if error.strerror else f"{error}; fix that and run the same command again."
    if isinstance(error, NotFinite):
        return (
            f"The method returned no finite scores: {error}; check the scan for values out of range, or leave it out."
        )
    if traceback:
        print_traceback(error)
    more = "" if traceback else "; --traceback shows where"
    return f"Prediction ended with an unexpected error ({described(error)}){more}; check the scans, or leave them out."


def _alone(error: Exception) -> Exception:
    """Return the error that ends the command for one patient; an unexpected one stays as it is."""
    from anyadbench.engine.numerics import NotFinite

    return UserError(sentence_of(error)) if isinstance(error, (OSError, NotFinite)) else error


def _request(predictor: Predictor, patient: Patient, settings: Settings, options: dict[str, Any], plan: Plan) -> str:
    """Return the hash of everything that the patient's files depend on."""
    from anyadbench.predict.batch import request_hash

    subsets = options["subsets"]
    asked = [*settings.hashed, *([subsets] if subsets else []), *([] if plan.idle else [str(plan)])]
    asked += [name for name in ("dicom_seg", "dicom_ids") if options[name]]
    return request_hash(patient, predictor, asked)


def _is_left(
    predictor: Predictor, settings: Settings, options: dict[str, Any], plan: Plan, out: Path, patient: Patient
) -> bool:
    """Whether a patient of a batch has still to be predicted; one whose files the system refuses will fail."""
    from anyadbench.predict.batch import is_done

    try:
        return not is_done(out / patient.name, _request(predictor, patient, settings, options, plan))
    except OSError:
        return False


def _one(
    predictor: Predictor,
    patient: Patient,
    folder: Path,
    settings: Settings,
    options: dict[str, Any],
    label: str,
    quiet: bool,
    ahead: Ahead,
) -> dict[str, Any]:
    from anyadbench.cli.output import clean
    from anyadbench.files import read_json
    from anyadbench.launch.progress import Display
    from anyadbench.predict.batch import is_done
    from anyadbench.predict.findings.sentences import top_line
    from anyadbench.predict.segments.dicom_seg import check_seg, segmentations
    from anyadbench.predict.viewer.subsets import with_subsets
    from anyadbench.predict.write import SCORES, check_folder, write_prediction

    if patient.problem:
        raise UserError(clean(patient.problem))
    request = _request(predictor, patient, settings, options, ahead.plan)
    before = is_done(folder, request)
    if not before:
        check_folder(folder)  # fail before the work, not after it
        if options["dicom_seg"]:
            check_seg(patient.scans)
        with Display() as display:  # nothing is printed meanwhile: bars would move it to standard error
            display.progress(0, 0, f"{label}: reading")
            chosen: dict[str, Any] = {
                "threshold": settings.threshold,
                "smallest_ml": settings.smallest_ml,
                "calibration": settings.calibration,
                "progress": partial(display.progress, label=f"{label}: slices"),
            }
            prepared = ahead.get(patient, lambda text: display.progress(0, 0, f"{label}: {text}"))
            prediction = predictor.predict(patient.scans, prepare=prepared, **chosen)
            prediction, others = with_subsets(prediction, predictor, options["subsets"], **chosen)
            segments = segmentations(prediction, keep_ids=options["dicom_ids"]) if options["dicom_seg"] else {}
            write_prediction(prediction, folder, patient.name, request, others, segments)
    scores = read_json(folder / SCORES)
    if not before and not quiet:
        for step in scores["prepared"]:
            click.echo(f"{clean(patient.name)}: {clean(step['text'])} ({step['seconds']:.1f} s)", err=True)
    for note in () if before else scores["notes"]:
        if note not in predictor.notes:
            click.echo(f"{clean(patient.name)}: {clean(note)}", err=True)
    if not quiet:
        again = " (predicted before)" if before else f", {scores['seconds']:.1f} s"
        click.echo(f"{clean(patient.name)}: {top_line(scores)}{again}; {folder / 'report.html'}")
    return scores
