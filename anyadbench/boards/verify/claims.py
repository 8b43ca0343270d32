"""What a cell says of its training must be possible: ids, selection, steps, parameters, weights, and times."""

from __future__ import annotations

import calendar
import time
from collections.abc import Mapping
from typing import Any

from anyadbench.boards.verify.findings import CellReport, at, compare
from anyadbench.data.slices.rules import HEALTHY
from anyadbench.data.slices.shots import check_choice
from anyadbench.errors import UserError
from anyadbench.hashing import stable_hash
from anyadbench.methods.descriptor import BUDGETS
from anyadbench.plugins import find_method
from anyadbench.protocols.model import Protocol
from anyadbench.results.schema import CellResult

CLOCK = 2.0
"""Seconds by which recorded times may be off: they are whole seconds, and files are written after the scoring."""

_HASHED = ("missing", "harness", "harness_code", "data", "files", "selected_on", "selected_by")
"""What a fit's id hashes besides what the result and the manifest say anyway."""

_WITHOUT_IDENTITY = ("1", "2")
"""Versions of the metrics under which cells were made before manifests listed what ids hash."""

_BATCH = 16
"""Slices per step of a method without the parameter ``batch_size``."""


def check_claims(
    report: CellReport, result: CellResult, protocol: Protocol, manifest: dict[str, Any], head: Mapping[str, Any]
) -> None:
    """Check everything that a cell says of itself besides its scores."""
    _check_selections(report, manifest)
    if protocol.shots:
        _check_shots(report, result, protocol, manifest)
    rules = {**protocol.training_part(), **protocol.test_part()}
    found = at(manifest, "protocol")
    known = {name: found.get(name) for name in rules} if isinstance(found, dict) else {}
    compare(report, "manifest.json", "protocol.toml", "protocol.", rules, known)
    if result.kind == "external":
        return
    _check_ids(report, result, protocol, manifest)
    _check_steps(report, result, protocol, manifest)
    _check_budget(report, result)
    _check_times(report, result, head)
    if result.weights.kind == "random" and not result.weights.marked:
        report.note("result.json", "the weights are random but not marked as such.")


def _check_selections(report: CellReport, manifest: dict[str, Any]) -> None:
    """Check that each selection has its hash, and that training and testing share no subject and no slice."""
    data = at(manifest, "data")
    for name, entry in data.items() if isinstance(data, dict) else []:
        chosen = at(entry, "selection")
        if not isinstance(chosen, dict):
            report.note("manifest.json", f"has no selection of {name}.")
            continue
        try:
            again = stable_hash({key: value for key, value in chosen.items() if key != "hash"})
        except (TypeError, ValueError):
            again = ""
        report.numbers += 1
        if chosen.get("hash") != again or chosen.get("store") != entry.get("store"):
            report.note("manifest.json", f"the hash of the selection of {name} is not that of its slices.")
        parts = chosen.get("subjects") or {}
        for one, other in (("train", "test"), ("val", "test"), ("train", "val")):
            both = set(parts.get(one, [])) & set(parts.get(other, []))
            if both:
                report.note("manifest.json", f"{min(both)} of {name} is in the parts {one} and {other}.")
        seen = _slices(chosen, "train_normals", "val_normals") & _slices(chosen, "test_normals", "test_abnormals")
        if seen:
            scan, number = min(seen)
            report.note("manifest.json", f"slice {number} of {scan} trains and tests.")


def _check_shots(report: CellReport, result: CellResult, protocol: Protocol, manifest: dict[str, Any]) -> None:
    """Make the choice of few training subjects again, and check that no other training subject was trained on."""
    part = "healthy.subjects" if protocol.normals == HEALTHY else "subjects"
    where = f"data.{protocol.train}.selection"
    training = at(manifest, f"{where}.{part}.train") or []
    found = at(manifest, f"{where}.shots") or {}
    report.numbers += 1
    wrong = check_choice(found, protocol.shots, result.seed, protocol.split.salt, training)
    if wrong:
        report.note("manifest.json", wrong)
        return
    scans = at(manifest, f"{where}.slices.train_normals") or {}
    strangers = sorted((set(scans) & set(training)) - set(found["subjects"]))
    if strangers:
        report.note("manifest.json", f"trains on {strangers[0]}, which seed {result.seed} does not choose.")


def _slices(chosen: dict[str, Any], *parts: str) -> set[tuple[str, int]]:
    listed = chosen.get("slices") or {}
    return {
        (scan, number) for part in parts for scan, numbers in (listed.get(part) or {}).items() for number in numbers
    }


def _check_ids(report: CellReport, result: CellResult, protocol: Protocol, manifest: dict[str, Any]) -> None:
    """Recompute the ids of the fit and the cell from everything that they are hashes of."""
    folders = at(manifest, "fit.folders") or {}
    for label, name in folders.items():
        wanted = result.fit_id if label == "all" else stable_hash([result.fit_id, label])
        if not str(name).endswith(wanted[:16]):
            report.note("manifest.json", f"fit.folders.{label} is {name!r}, which is not of the fit {wanted[:16]}.")
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in result.method.name)
    said = at(manifest, "identity")
    if said is None and result.metric_version in _WITHOUT_IDENTITY:
        report.remarks.append("ids are not recomputed, because manifest.json does not store what else they hash")
        return
    if said is None:
        report.note("manifest.json", "has no entry 'identity', without which the ids cannot be recomputed.")
        return
    try:
        identity = {
            "method": result.method.name, "params": result.method.params, "budget": result.method.budget,
            "training_mask": result.method.training_mask, "code": result.method.code_hash,
            "protocol": protocol.training_part(), "policy": manifest["policy"],
            "weights": {name: getattr(result.weights, name) for name in ("name", "kind", "sha256")},
            **{name: said["fit"][name] for name in _HASHED if name in said["fit"]},
        }  # fmt: skip
        fit = stable_hash([stable_hash(identity), result.seed])
        test = [protocol.name, protocol.test_part(), manifest["test_hash"], result.metric_version, said["scoring"]]
        cell = stable_hash([fit, *test])
    except (KeyError, TypeError, ValueError):
        report.note("manifest.json", "does not list what the ids are hashes of.")
        return
    hashed = "its method, parameters, budget, code, weights, policy, protocol, training data and seed"
    report.numbers += 2
    if fit != result.fit_id:
        report.note("result.json", f"fit_id is {result.fit_id[:16]}, but the hash of {hashed} is {fit[:16]}.")
    if cell != result.cell_id:
        what = "of the fit, the protocol, the test data and the metrics"
        report.note("result.json", f"cell_id is {result.cell_id[:16]}, but the hash {what} is {cell[:16]}.")
    name = report.folder.name
    if name.startswith(f"{safe}_") and name.rpartition("_s")[1] and not name.endswith(result.cell_id[:16]):
        report.note("result.json", f"cell_id is {result.cell_id[:16]}, which is not in the name of the folder.")


def _check_steps(report: CellReport, result: CellResult, protocol: Protocol, manifest: dict[str, Any]) -> None:
    train, params = result.train, result.method.params
    steps, slices = train.get("steps"), train.get("slices")
    listed = at(manifest, f"data.{protocol.train}.selection.slices.train_normals")
    most = sum(map(len, listed.values())) if isinstance(listed, dict) else None
    published = result.weights.kind == "checkpoint"
    if not isinstance(steps, int) or not isinstance(slices, int):
        report.note("result.json", "train does not give the steps and the slices of the training.")
        return
    if most is not None and not published and not 0 < slices <= most:
        report.note("result.json", f"train.slices is {slices}, but manifest.json selects {most} slices to train on.")
    models = len(at(manifest, "fit.folders") or {"all": ""})
    wanted = 0 if published else expected_steps(params, slices) * models
    # Models of single subsets may see fewer slices, and then have fewer steps in each epoch.
    exact = models == 1 or int(params.get("steps", 0)) > 0
    report.numbers += 1
    if steps != wanted if exact else not 0 <= steps <= wanted:
        asked = ", ".join(f"{name} {params[name]}" for name in ("steps", "epochs", "batch_size") if name in params)
        text = f"train.steps is {steps}, but the parameters ({asked or 'none of steps and epochs'}) and {slices} slices"
        report.note("result.json", f"{text} give {wanted}.")
    seen = train.get("seen_slices")
    if isinstance(seen, int) and steps and models == 1 and seen != expected_slices(params, slices, steps):
        text = f"train.seen_slices is {seen}, but {steps} steps over {slices} slices hold"
        report.note("result.json", f"{text} {expected_slices(params, slices, steps)}.")
    if steps and not result.timings.get("fit_seconds"):
        report.note("result.json", f"{steps} steps of training took no time.")
    chosen = train.get("selected_step")
    if (protocol.selection == "last" or published) != (chosen is None) and result.train.get("steps"):
        report.note("result.json", f"train.selected_step is {chosen}, but the protocol selects {protocol.selection!r}.")
    elif isinstance(chosen, int) and not 0 < chosen <= steps:
        report.note("result.json", f"train.selected_step is {chosen} of {steps} steps.")


def expected_steps(params: Mapping[str, Any], slices: int) -> int:
    """Return the steps of a training: as many as asked for, or whole passes over its slices."""
    return int(params.get("steps", 0)) or int(params.get("epochs", 0)) * _per_epoch(params, slices)


def expected_slices(params: Mapping[str, Any], slices: int, steps: int) -> int:
    """Return how many slices the steps of a training hold, those of earlier passes counted again."""
    size, per_epoch = _size(params), _per_epoch(params, slices)
    passes, rest = divmod(steps, per_epoch)
    return passes * min(slices, per_epoch * size) + min(slices, rest * size)


def _size(params: Mapping[str, Any]) -> int:
    return max(int(params.get("batch_size", _BATCH)), 1)


def _per_epoch(params: Mapping[str, Any], slices: int) -> int:
    whole, rest = divmod(slices, _size(params))
    return max(1, whole if params.get("drop_last") or not rest else whole + 1)


def _check_budget(report: CellReport, result: CellResult) -> None:
    """Where the method is installed, check that its parameters exist and are not those of another budget."""
    try:
        descriptor, _ = find_method(result.method.name)
        sets = {name: descriptor.portable(descriptor.resolve(name)) for name in BUDGETS}
    except UserError:
        return
    given, claimed = dict(result.method.params), result.method.budget
    report.numbers += 1
    alike = [name for name, params in sets.items() if params == given]
    if alike and claimed in sets and claimed not in alike:
        report.note("result.json", f"method.budget is {claimed!r}, but the parameters are those of {alike[0]!r}.")


def _check_times(report: CellReport, result: CellResult, head: Mapping[str, Any]) -> None:
    start, end = (_seconds(head.get(name)) for name in ("started", "finished"))
    scored = result.timings.get("score_seconds", 0.0)
    report.numbers += 1
    if start is not None and end is not None and scored > end - start + CLOCK:
        text = f"the cell ran for {end - start:.0f} s, but scoring alone took {scored:.0f} s by result.json."
        report.note("cell.json", text)


def _seconds(text: Any) -> float | None:
    try:
        return float(calendar.timegm(time.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return None
