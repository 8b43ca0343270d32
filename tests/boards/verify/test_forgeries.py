"""Forgeries by someone who knows the format: every hash is redone, and yet each is found and named in one sentence."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cell_fixture import change_json, reseal
from places import FIXTURES, ROOT

from anyadbench.boards.aggregate.recompute import read_statistics
from anyadbench.boards.verify.cell import check_cell
from anyadbench.boards.verify.claims import expected_slices, expected_steps
from anyadbench.boards.verify.submission import check
from anyadbench.boards.verify.twins import fingerprints, twins
from anyadbench.engine.settings import batch_size, batches_per_epoch, slices_seen, training_steps
from anyadbench.hashing import stable_hash
from anyadbench.metrics.rows.grouped import GroupedSteps
from anyadbench.metrics.rows.row_pixels import to_arrays, to_grouped_arrays
from anyadbench.results.arrays import save_arrays
from anyadbench.results.read import read_cells
from anyadbench.results.schema import Row

PUBLISHED = ROOT / "leaderboards/results/cells"


class Forger:
    """Changes a cell's files as its owner could, keeping whatever can be kept consistent."""

    def __init__(self, cell: Path) -> None:
        self.cell = cell

    def result(self, edit: Callable[[dict[str, Any]], object]) -> None:
        """Change the result."""
        change_json(self.cell / "result.json", edit)

    def manifest(self, edit: Callable[[dict[str, Any]], object]) -> None:
        """Change the manifest, and what the result repeats of it."""
        change_json(self.cell / "manifest.json", edit)

    def set(self, value: Any, *names: str) -> None:
        """Set a fact in every file that states it; each name is FILE:dotted.path."""
        for name in names:
            file, _, path = name.partition(":")
            *outer, last = path.split(".")

            def edit(data: dict[str, Any], outer: list[str] = outer, last: str = last) -> None:
                for part in outer:
                    data = data[part]
                data[last] = value

            change_json(self.cell / f"{file}.json", edit)

    def slices(self, edit: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        """Change the rows of the slice table."""
        from anyadbench.cells.scored_cell import write_slices

        class State:
            records = edit([one for rows in read_statistics(self.cell).slices.values() for one in rows])

        write_slices(self.cell / "scores/slices.csv", [State()])  # type: ignore[list-item]

    def select(self, edit: Callable[[dict[str, Any]], object]) -> None:
        """Change the selection, and redo its hash."""

        def change(manifest: dict[str, Any]) -> None:
            (entry,) = manifest["data"].values()
            edit(entry["selection"])
            entry["selection"]["hash"] = stable_hash({k: v for k, v in entry["selection"].items() if k != "hash"})

        self.manifest(change)

    def pixels(self, edit: Callable[[Any], Any]) -> None:
        """Change the pixel statistics of every row."""
        statistics = read_statistics(self.cell)
        rows = [edit(row) for row in statistics.pixels.values()]
        write = to_grouped_arrays if isinstance(rows[0].steps, GroupedSteps) else to_arrays
        save_arrays(self.cell / "scores/pixels.npz", write(rows, statistics.subjects))

    def refill(self) -> None:
        """Fill in the numbers that the check expects, and remove files that are not needed."""
        for name in ("bootstrap.npz", "jackknife.npz", "curves.json", "maps.npz"):
            (self.cell / "scores" / name).unlink(missing_ok=True)
        statistics = read_statistics(self.cell)

        def fill(data: dict[str, Any]) -> None:
            for row in data["rows"]:
                numbers, _ = statistics.row((row["test"], row["subset"]))
                kept = {name: row[name] for name in ("test", "subset", "sequences", "feed", "n_emptied")}
                row.clear()
                row.update(Row(**kept, **numbers).model_dump(mode="json"))

        self.result(fill)


def scan_of(forger: Forger) -> tuple[str, int]:
    """Return a lesion-free test slice of a scan that every row has."""
    tables = read_statistics(forger.cell).slices
    rows = [{(one["scan"], one["slice"]) for one in rows if not one["label"]} for rows in tables.values()]
    return min(set.intersection(*rows))


def leave_out(forger: Forger, *, rehash: bool) -> tuple[str, int]:
    scan, number = scan_of(forger)

    def drop(selection: dict[str, Any]) -> None:
        selection["slices"]["test_normals"][scan].remove(number)

    if rehash:
        forger.select(drop)
    else:
        forger.manifest(lambda data: drop(next(iter(data["data"].values()))["selection"]))
    forger.slices(lambda rows: [one for one in rows if (one["scan"], one["slice"]) != (scan, number)])
    scored = sum(map(len, read_statistics(forger.cell).slices.values()))
    forger.set(float(scored), "result:timings.scored_slices", "manifest:timings.scored_slices")
    forger.refill()
    return scan, number


def a_better_metric(forger: Forger) -> None:
    forger.result(lambda data: data["rows"][0]["metrics"].update(pixel_ap=0.9))


def a_narrower_interval(forger: Forger) -> None:
    forger.result(lambda data: data["rows"][0]["intervals"].update(image_auroc=[0.89, 0.9]))


def fewer_misses(forger: Forger) -> None:
    forger.result(lambda data: data["rows"][0]["threshold"].update(fn=0))


def a_larger_budget(forger: Forger) -> None:
    forger.result(lambda data: data["method"].update(budget="paper"))


def epochs_that_were_not_run(forger: Forger) -> None:
    forger.result(lambda data: data["method"]["params"].update(epochs=300, batch_size=4))


def an_invented_cell_id(forger: Forger) -> None:
    forger.set("f" * 64, "result:cell_id", "cell:cell_id")


def another_seed(forger: Forger) -> None:
    forger.set(1, "result:seed", "cell:seed", "manifest:seed")


def other_code(forger: Forger) -> None:
    forger.set("a" * 64, "result:method.code_hash", "manifest:plugin.code_hash")


def other_weights(forger: Forger) -> None:
    forger.set("b" * 64, "result:weights.sha256", "manifest:weights.sha256")


def another_device(forger: Forger) -> None:
    forger.set("cuda", "result:numerics.device", "manifest:policy.device")


def other_training_data(forger: Forger) -> None:
    forger.set("c" * 64, "manifest:identity.fit.data")


def hidden_claims_in_the_identity(forger: Forger) -> None:
    forger.result(lambda data: data["method"].update(budget="paper"))
    forger.set("tiny", "manifest:identity.fit.budget")


def a_manifest_without_identity(forger: Forger) -> None:
    forger.result(lambda data: data["method"].update(budget="paper"))
    forger.manifest(lambda data: data.pop("identity"))


def unmarked_random_weights(forger: Forger) -> None:
    forger.set("random", "result:weights.kind", "manifest:weights.kind")


def a_slice_left_out(forger: Forger) -> None:
    leave_out(forger, rehash=False)


def a_slice_left_out_with_its_hash(forger: Forger) -> None:
    leave_out(forger, rehash=True)


def a_normal_slice_made_abnormal(forger: Forger) -> None:
    scan, number = scan_of(forger)

    def turn(selection: dict[str, Any]) -> None:
        selection["slices"]["test_normals"][scan].remove(number)
        listed = selection["slices"]["test_abnormals"].setdefault(scan, [])
        listed.append(number)
        listed.sort()

    forger.select(turn)
    forger.slices(
        lambda rows: [one | {"label": 1} if (one["scan"], one["slice"]) == (scan, number) else one for one in rows]
    )
    forger.refill()


def a_test_subject_that_trains(forger: Forger) -> None:
    forger.select(lambda selection: selection["subjects"]["train"].append(selection["subjects"]["test"][0]))


def a_test_slice_that_trains(forger: Forger) -> None:
    scan, number = scan_of(forger)
    forger.select(lambda selection: selection["slices"]["train_normals"].update({scan: [number]}))


def more_slices_seen(forger: Forger) -> None:
    forger.result(lambda data: data["train"].update(slices=10**6))


def a_changed_rule(forger: Forger) -> None:
    path = forger.cell / "protocol.toml"
    path.write_text(path.read_text().replace("min_lesion_px = ", "min_lesion_px = 1"))
    from anyadbench.protocols.reader import read_protocol

    protocol = read_protocol(path)
    forger.set(protocol.hash, "result:protocol.hash", "manifest:protocol.hash")


def scoring_that_took_longer_than_the_cell(forger: Forger) -> None:
    forger.set(1e6, "result:timings.score_seconds", "manifest:timings.score_seconds")


def fewer_scored_slices(forger: Forger) -> None:
    forger.set(7.0, "result:timings.scored_slices", "manifest:timings.scored_slices")


def a_subject_with_anothers_pixels(forger: Forger) -> None:
    def move(row: Any) -> Any:
        gaps = row.cohort.gaps.copy()
        gaps[:2, -1] += [-5, 5]
        return replace(row, cohort=replace(row.cohort, gaps=gaps))

    forger.pixels(move)
    forger.refill()


def more_lesion_pixels(forger: Forger) -> None:
    change = {"lesion_px": 1}
    forger.slices(
        lambda rows: [one | {name: one[name] + one["label"] * by for name, by in change.items()} for one in rows]
    )
    forger.refill()


def emptied_slices(forger: Forger) -> None:
    forger.result(lambda data: [row.update(n_emptied=1) for row in data["rows"]])


def a_removed_row(forger: Forger) -> None:
    forger.result(lambda data: data["rows"].pop())


def other_sequences(forger: Forger) -> None:
    forger.result(lambda data: data["rows"][0].update(sequences=["t1"]))


def another_feed(forger: Forger) -> None:
    forger.result(lambda data: data["rows"][0].update(feed={"flair": "t1"}))


def another_kind(forger: Forger) -> None:
    forger.result(lambda data: data.update(kind="oracle"))


def a_control_of_a_trained_method(forger: Forger) -> None:
    forger.result(lambda data: data.update(kind="control"))


def another_title(forger: Forger) -> None:
    forger.result(lambda data: data["method"].update(title="Published method"))


def a_hidden_departure(forger: Forger) -> None:
    forger.result(lambda data: data["method"].update(departures=["Nothing of note."]))


def a_choice_that_is_not_declared(forger: Forger) -> None:
    forger.result(lambda data: data["method"].update(chosen_on="phantom-7subsets"))


def no_training_coverage(forger: Forger) -> None:
    forger.result(lambda data: data.update(trained_on=None))


def a_sequence_that_no_training_slice_has(forger: Forger) -> None:
    forger.result(lambda data: data["trained_on"]["sequences"].update(flair=0))


def more_training_slices_with_a_sequence(forger: Forger) -> None:
    forger.result(lambda data: data["trained_on"]["sequences"].update(flair=10**6))


FORGERIES: dict[Callable[[Forger], None], str] = {
    other_sequences: "phantom, F: sequences[0] is 't1', but protocol.toml gives 'flair'",
    another_feed: "phantom, F: feed.flair is 't1', but protocol.toml gives nothing",
    another_kind: "kind is 'oracle', but tiny is no oracle by protocol.toml",
    a_control_of_a_trained_method: "kind is 'control', but pixelstats is no control",
    another_title: "method.title is 'Published method', but the installed method gives",
    a_hidden_departure: "method.departures",
    a_choice_that_is_not_declared: "method.chosen_on is 'phantom-7subsets', but the installed method gives ''",
    no_training_coverage: "trained_on is missing",
    a_sequence_that_no_training_slice_has: "training slices have F, but only 0 each of its sequences",
    more_training_slices_with_a_sequence: "trained_on: 1000000 of",
    a_better_metric: "metrics.pixel_ap is 0.9, but slices and pixel statistics give",
    a_narrower_interval: "intervals.image_auroc",
    fewer_misses: "threshold.fn is 0, but slices and pixel statistics give",
    a_larger_budget: "but the hash of its method, parameters, budget",
    epochs_that_were_not_run: "train.steps is 0, but the parameters (epochs 300, batch_size 4)",
    an_invented_cell_id: "cell_id is ffffffffffffffff, but the hash of the fit, the protocol",
    another_seed: "but the hash of its method, parameters, budget",
    other_code: "but the hash of its method, parameters, budget",
    other_weights: "but the hash of its method, parameters, budget",
    another_device: "but the hash of its method, parameters, budget",
    other_training_data: "but the hash of its method, parameters, budget",
    hidden_claims_in_the_identity: "but the hash of its method, parameters, budget",
    a_manifest_without_identity: "manifest.json: has no entry 'identity', without which the ids cannot be recomputed",
    unmarked_random_weights: "the weights are random but not marked as such",
    a_slice_left_out: "the hash of the selection of",
    a_slice_left_out_with_its_hash: "slices in the slice table have",
    a_normal_slice_made_abnormal: "n_emptied is 0, but 1 abnormal slices of the slice table have no lesion pixel",
    a_test_subject_that_trains: "is in the parts train and test",
    a_test_slice_that_trains: "trains and tests",
    more_slices_seen: "train.slices is 1000000, but manifest.json selects",
    a_changed_rule: "manifest.json: protocol.slices.min_lesion_px is",
    scoring_that_took_longer_than_the_cell: "but scoring alone took 1000000 s",
    fewer_scored_slices: "timings.scored_slices are 7, but the slice table gives",
    a_subject_with_anothers_pixels: "slices in the slice table have",
    more_lesion_pixels: "the lesion pixels are",
    emptied_slices: "n_emptied is 1, but 0 abnormal slices",
    a_removed_row: "lacks a row that the protocol has",
}


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_forgery_is_named(forge: Callable[[Forger], None], runs: Path) -> None:
    (cell,) = (runs / "cells").iterdir()
    before = check_cell(cell)
    assert before.problems == [] and before.remarks == []
    forge(Forger(cell))
    reseal(cell)
    problems = check_cell(cell).problems
    assert any(FORGERIES[forge] in problem for problem in problems), problems
    assert all(problem.endswith((".", ". ")) and "\n" not in problem for problem in problems)


def copied(cell: Path, seed: int) -> Path:
    """Copy a cell of seed 0 as another seed under an invented id."""
    invented = stable_hash([cell.name, seed])
    copy = cell.with_name(f"{cell.name.rpartition('_s')[0]}_s{seed}_{invented[:16]}")
    forger = Forger(Path(shutil.copytree(cell, copy)))
    forger.set(seed, "result:seed", "cell:seed", "manifest:seed")
    forger.set(invented, "result:cell_id", "cell:cell_id")
    forger.set(invented, "result:fit_id", "cell:fit_id", "manifest:fit.id")
    forger.set({"all": f"x-{invented[:16]}"}, "manifest:fit.folders")
    return copy


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A published cell of a trained method."""
    cell = min(PUBLISHED.glob("anyad_phantom-7subsets_s0_*"))
    return Path(shutil.copytree(cell, tmp_path / "results/cells" / cell.name))


def test_a_budget_of_more_epochs_than_were_run_is_named(trained: Path) -> None:
    forger = Forger(trained)
    forger.result(lambda data: data["method"].update(budget="paper"))
    forger.result(lambda data: data["method"]["params"].update(epochs=300, steps=0))
    reseal(trained)
    found = "\n".join(check_cell(trained).problems)
    assert "train.steps is 40, but the parameters (steps 0, epochs 300, batch_size 8) and 386 slices give" in found


def test_a_training_that_saw_more_slices_than_its_steps_hold_is_named(trained: Path) -> None:
    forger = Forger(trained)
    forger.result(lambda data: data["train"].update(seen_slices=10**6))
    reseal(trained)
    (problem,) = check_cell(trained).problems
    assert "train.seen_slices is 1000000, but 40 steps over 386 slices hold 320." in problem


@pytest.mark.parametrize("missing", ["native", "retrain"])
def test_a_budget_with_the_parameters_of_another_is_named(trained: Path, missing: str) -> None:
    from anyadbench.plugins import find_method

    descriptor, _ = find_method("anyad")
    forger = Forger(trained)
    claims = {"budget": "paper", "params": descriptor.resolve("demo"), "missing": missing}
    forger.result(lambda data: data["method"].update(claims))
    reseal(trained)
    found = "\n".join(check_cell(trained).problems)
    assert "method.budget is 'paper', but the parameters are those of 'demo'" in found


def scaled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one | {"image_score": 3 * one["image_score"] + 1} for one in rows]


def a_little_changed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Swap the two lowest scores of each row, and shift all of them by next to nothing."""
    changed = []
    for place in dict.fromkeys((one["test"], one["subset"]) for one in rows):
        own = [dict(one) for one in rows if (one["test"], one["subset"]) == place]
        low, next_one = sorted(own, key=lambda one: one["image_score"])[:2]
        low["image_score"], next_one["image_score"] = next_one["image_score"], low["image_score"]
        changed += [one | {"image_score": one["image_score"] + 2e-12} for one in own]
    return changed


@pytest.mark.parametrize("name", ["control:brain", "control:of-elsewhere"])
def test_a_control_that_competes_is_named(runs: Path, name: str) -> None:
    (cell,) = (runs / "cells").iterdir()
    Forger(cell).set(name, "result:method.name", "cell:method")
    reseal(cell)
    assert any(f"kind is 'measured', but {name} is a control." in text for text in check_cell(cell).problems)


def test_what_boards_say_of_a_method_of_other_code_is_not_compared(runs: Path) -> None:
    (cell,) = (runs / "cells").iterdir()
    another_title(Forger(cell))
    other_code(Forger(cell))
    reseal(cell)
    assert not any("method.title" in text for text in check_cell(cell).problems)


def test_an_early_cell_without_identity_is_a_remark() -> None:
    report = check_cell(min((FIXTURES / "results/v2/cells").iterdir()))
    assert report.problems == []
    assert report.remarks == ["ids are not recomputed, because manifest.json does not store what else they hash"]


@pytest.mark.parametrize("change", [None, scaled, a_little_changed])
def test_a_copied_seed_is_named(trained: Path, change: Any) -> None:
    copy = copied(trained, 1)
    if change is not None:
        forger = Forger(copy)
        forger.slices(change)
        (copy / "scores/slices.npz").unlink(missing_ok=True)
        forger.result(lambda data: data["files"].update({"scores/slices.csv": ""}))
        forger.refill()
        forger.result(lambda data: data["files"].pop("scores/jackknife.npz", None))
    reseal(copy)
    said = f"{copy.name}: its slice scores of phantom, F are those of {trained.name}"
    (problem,) = (text for text in check(trained.parent).problems if said in text)
    assert problem.endswith("but their seeds are 0 and 1.")


def test_pixel_metrics_that_differ_by_next_to_nothing_are_named(trained: Path) -> None:
    (record,) = read_cells(trained.parents[1])
    assert record.result is not None
    prints = {key: one for key, one in fingerprints(record.result, {}).items() if key[2] == "pixel scores"}
    assert len(prints) > 4
    moved = {key: replace(one, values=one.values + 2e-12) for key, one in prints.items()}
    far = {key: replace(one, values=one.values + 1e-4) for key, one in prints.items()}
    other = record.result.model_copy(update={"cell_id": "x", "fit_id": "y", "seed": 1})
    (sentence,) = twins([("one", record.result, prints), ("two", other, moved)])
    assert sentence.startswith("two: its pixel scores of phantom, F are those of one")
    assert list(twins([("one", record.result, prints), ("two", other, far)])) == []


def test_ranks_of_slices_are_those_of_spearmans_coefficient(trained: Path) -> None:
    from scipy import stats

    (record,) = read_cells(trained.parents[1])
    assert record.result is not None
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 60, (2, 300)).astype(float)  # many equal scores

    def prints(scores: Any) -> Any:
        records = [{"scan": "a", "slice": n, "image_score": float(score)} for n, score in enumerate(scores)]
        return fingerprints(record.result, {("phantom", "F"): records})  # type: ignore[arg-type]

    one, other = (prints(scores)["phantom", "F", "slice scores"].values for scores in (first, first + second))
    assert one @ other == pytest.approx(stats.spearmanr(first, first + second).statistic)
    alike = record.result.model_copy(update={"cell_id": "x", "fit_id": "y", "seed": 1})
    for constant in (np.zeros(300), np.repeat([0.0, 1.0], 150)):
        assert ("phantom", "F", "slice scores") not in prints(constant)
    for scores, shared in ((first + second / 100, True), (first + second / 3, False)):
        pair = [{key: one for key, one in prints(own).items() if key[2] == "slice scores"} for own in (first, scores)]
        assert bool(list(twins([("one", record.result, pair[0]), ("two", alike, pair[1])]))) == shared


def test_scores_under_another_methods_name_are_named(trained: Path) -> None:
    copy = copied(trained, 0)
    Forger(copy).set("other", "result:method.name", "cell:method")
    reseal(copy)
    assert any("their methods are" in problem for problem in check(trained.parent).problems)


def test_a_method_without_training_may_give_the_same_scores(runs: Path) -> None:
    (record,) = read_cells(runs)
    assert record.result is not None
    prints = fingerprints(record.result, read_statistics(record.folder).slices)
    assert len(prints) > 4

    def pair(**changes: Any) -> list[str]:
        other = record.result.model_copy(update={"cell_id": "x", "fit_id": "y", **changes})  # type: ignore[union-attr]
        return list(twins([("one", record.result, prints), ("two", other, prints)]))  # type: ignore[list-item]

    assert pair(seed=1) == []
    assert pair(train={"steps": 5, "slices": 3}) == []  # the same seed and parameters: a repetition
    (sentence,) = pair(seed=1, train={"steps": 5, "slices": 3})
    assert sentence.startswith("two: its ") and sentence.endswith("but their seeds are 0 and 1.")


def test_a_published_value_outside_its_ends_is_named(published: Path) -> None:
    report = check_cell(published)
    assert report.problems == [] and 0 < report.width < 1e-3
    forger = Forger(published)

    def raise_ap(row: Any) -> Any:
        return replace(row, steps=replace(row.steps, values={**row.steps.values, "pixel_ap": 0.99}))

    forger.pixels(raise_ap)
    forger.result(lambda data: [row["metrics"].update(pixel_ap=0.99) for row in data["rows"]])
    reseal(published)
    (problem,) = check_cell(published).problems
    assert "pixel_ap is 0.990000, but the pixel statistics allow" in problem


def test_values_without_a_subject_must_follow_from_its_counts(published: Path) -> None:
    forger = Forger(published)

    def change(row: Any) -> Any:
        changed = row.cohort.left_out.copy()
        changed[1, 1] += 0.01
        return replace(row, cohort=replace(row.cohort, left_out=changed))

    forger.pixels(change)
    forger.refill()
    reseal(published)
    problems = check_cell(published).problems
    assert all("pixel_ap without" in problem and "but the subjects' counts give" in problem for problem in problems)
    assert problems


@pytest.mark.parametrize(
    ("params", "slices"),
    [
        ({"steps": 9, "epochs": 0}, 30),
        ({"epochs": 3, "batch_size": 4}, 30),
        ({"epochs": 3, "drop_last": True}, 30),
        ({}, 5),
    ],
)
def test_steps_are_counted_as_the_engine_counts_them(params: dict[str, Any], slices: int) -> None:
    per_epoch = batches_per_epoch(slices, batch_size(params), bool(params.get("drop_last")))
    assert expected_steps(params, slices) == training_steps(params, per_epoch)
    for steps in (1, 2, 7, 9):
        seen = slices_seen(slices, batch_size(params), bool(params.get("drop_last")), steps)
        assert expected_slices(params, slices, steps) == seen


def against_data(runs: Path, data: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "anyadbench", "leaderboard", "check", str(runs / "cells"), "--data", str(data)]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False)


def a_whole_slice_left_out(forger: Forger) -> None:
    """Leave a slice out everywhere: manifest, hash, slice table, pixels, numbers."""
    scan, _ = leave_out(forger, rehash=True)
    statistics = read_statistics(forger.cell)
    subject = next(one["subject"] for rows in statistics.slices.values() for one in rows if one["scan"] == scan)

    def shrink(row: Any) -> Any:
        place = row.subjects.index(subject)
        pixels = forger_grid(forger)
        gaps, steps = row.cohort.gaps.copy(), row.steps.gaps.copy()
        gaps[place, -1] -= pixels
        steps[-1] -= pixels
        return replace(row, cohort=replace(row.cohort, gaps=gaps), steps=replace(row.steps, gaps=steps))

    forger.pixels(shrink)
    forger.refill()


def forger_grid(forger: Forger) -> int:
    from anyadbench.results.read import read_json

    height, width = read_json(forger.cell, "manifest.json")["input"]["grid"]
    return int(height * width)


def other_heights(forger: Forger) -> None:
    forger.slices(lambda rows: [one | {"height_mm": one["height_mm"] + 1} for one in rows])


def fewer_training_slices_with_a_sequence(forger: Forger) -> None:
    def edit(data: dict[str, Any]) -> None:
        found = data["trained_on"]
        found["sequences"]["t2"] = 1
        found["subsets"] = {name: min(count, 1) if "T2" in name else count for name, count in found["subsets"].items()}

    forger.result(edit)


@pytest.mark.parametrize(
    ("forge", "named"),
    [
        (a_whole_slice_left_out, "is not that of the data: slices.test_normals."),
        (other_heights, "height_mm of slice"),
        (fewer_training_slices_with_a_sequence, "result.json: trained_on: sequences.t2 is 1, and the data give"),
    ],
)
def test_what_only_the_data_show_is_named(
    forge: Callable[[Forger], None], named: str, runs: Path, tiny_phantom: Path
) -> None:
    (cell,) = (runs / "cells").iterdir()
    forge(Forger(cell))
    reseal(cell)
    assert check_cell(cell).problems == []
    done = against_data(runs, tiny_phantom)
    assert done.returncode == 1 and named in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_a_cell_that_is_run_again_gives_the_same_bytes(runs: Path, tiny_phantom: Path) -> None:
    done = against_data(runs, tiny_phantom, "--rerun")
    assert done.returncode == 0 and "no problems" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_invented_scores_do_not_survive_a_rerun(runs: Path, tiny_phantom: Path) -> None:
    (cell,) = (runs / "cells").iterdir()
    forger = Forger(cell)
    forger.slices(lambda rows: [one | {"image_score": one["image_score"] + one["label"]} for one in rows])
    forger.refill()
    reseal(cell)
    assert check_cell(cell).problems == []
    done = against_data(runs, tiny_phantom, "--rerun")
    assert done.returncode == 1
    assert "running the cell again on the same type of machine does not repeat it: image_" in done.stdout


def test_missing_data_hide_no_other_finding(runs: Path, tmp_path: Path) -> None:
    (cell,) = (runs / "cells").iterdir()
    a_better_metric(Forger(cell))
    reseal(cell)
    done = against_data(runs, tmp_path / "nowhere")
    assert done.returncode == 1
    assert f"{cell.name} could not be checked against the data: " in done.stdout
    assert "there is no such folder" in done.stdout and FORGERIES[a_better_metric] in done.stdout
