"""Which subjects train, validate and test, and which of their slices count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from anyadbench.data.slices.rules import HEALTHY, LESION_FREE, HealthySplitRules, SliceRules, SplitRules
from anyadbench.errors import UserError
from anyadbench.hashing import stable_hash
from anyadbench.sequences import all_subsets, format_subset

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Int
    from numpy import ndarray

    from anyadbench.data.store.store import SliceStore

PARTS = ("train", "val", "test")
BLOCK_FRACTION, BLOCK_GAP = 0.15, 5
"""Share of a training subject's normal slices that validate where no subject can, and their gap to the rest."""


def split_subjects(
    subjects: Sequence[str],
    rules: SplitRules = SplitRules(),
    cover: Mapping[str, frozenset[str]] | None = None,
) -> dict[str, str]:
    """Assign each subject to ``train``, ``val`` or ``test``, ordered by the hash of salt and name.

    Of two or more subjects at least one tests, unless that fraction is 0; subjects validate only if at least three are
    left to train.

    Args:
        subjects: Names, in any order; repetitions count once.
        rules: Fractions and salt; another salt gives another split.
        cover: For each subject, the subsets that its scans can serve. If no test subject serves a subset that another
            subject serves, the first such subject in hash order joins the test set, provided one is left to train.
    """
    order = sorted(set(subjects), key=lambda name: (stable_hash([rules.salt, name]), name))
    n = len(order)
    n_test = max(1, round(rules.test * n)) if n >= 2 and rules.test > 0 else 0
    n_val = round(rules.validation * n)
    if n - n_test - n_val < 3:
        n_val = 0
    split = {name: "test" if i < n_test else "val" if i < n_test + n_val else "train" for i, name in enumerate(order)}
    for subset in sorted({subset for serves in (cover or {}).values() for subset in serves}):
        able = [name for name in order if subset in (cover or {}).get(name, frozenset())]
        if not able or any(split[name] == "test" for name in able):
            continue
        training = [name for name in order if split[name] == "train"]
        joining = next((name for name in able if training != [name]), None)
        if joining is not None:
            split[joining] = "test"
    return {name: split[name] for name in sorted(split)}


def split_store(store: SliceStore, rules: SplitRules, sequences: Sequence[str]) -> dict[str, str]:
    """Split the patients of a store; with ``cover_subsets``, for every subset of the sequences.

    The subsets that a protocol evaluates do not matter: protocols that share a fit share the split. Healthy subjects
    have a split of their own, see ``split_healthy``.
    """
    patients = ~store.scans["healthy"].to_numpy(bool)
    subjects = [str(name) for name in store.scans["subject"][patients]]
    if not rules.cover_subsets:
        return split_subjects(subjects, rules)
    cover: dict[str, frozenset[str]] = {}
    for subject, has in zip(subjects, store.availability(sequences)[patients], strict=True):
        own = {name for name, there in zip(sequences, has, strict=True) if there}
        served = {format_subset(subset) for subset in all_subsets(sequences) if set(subset) <= own}
        cover[subject] = cover.get(subject, frozenset()) | served
    return split_subjects(subjects, rules, cover)


def split_healthy(store: SliceStore, rules: HealthySplitRules, salt: str) -> dict[str, str]:
    """Split the healthy subjects of a store, by the same rule as the patients."""
    fractions = SplitRules(rules.train, rules.validation, rules.test, salt)
    return split_subjects(sorted(store.healthy_subjects), fractions)


@dataclass(frozen=True, eq=False)
class Selection:
    """Indices of the slices of a store that count, each list sorted.

    Attributes:
        train_normals: Slices to train on: lesion-free ones of patients, or those of healthy training subjects.
        val_normals: Slices of the same kind for thresholds and selection.
        test_normals: Lesion-free test slices of patients.
        test_abnormals: Test slices with a lesion.
        validation: ``subjects``; ``slice block`` if the validation slices come from training subjects; or ``none``.
        store: The store.
        rules: Slice rules that were applied.
        split: Part (train, val, test) of each patient.
        healthy_split: Part of each healthy subject.
        normals: Source of the training normals, ``lesion-free`` or ``healthy``.
        healthy_train: Brain slices of healthy training subjects; trained on only if ``normals`` says so.
        healthy_val: Brain slices of healthy validation subjects, for calibrating false alarms.
        healthy_test: Brain slices of healthy test subjects, for counting false alarms.
    """

    train_normals: Int[ndarray, " n"]
    val_normals: Int[ndarray, " n"]
    test_normals: Int[ndarray, " n"]
    test_abnormals: Int[ndarray, " n"]
    validation: str
    store: SliceStore = field(repr=False)
    rules: SliceRules = field(default_factory=SliceRules)
    split: Mapping[str, str] = field(default_factory=dict)
    healthy_split: Mapping[str, str] = field(default_factory=dict)
    normals: str = LESION_FREE
    healthy_train: Int[ndarray, " n"] = field(default_factory=lambda: _none())
    healthy_val: Int[ndarray, " n"] = field(default_factory=lambda: _none())
    healthy_test: Int[ndarray, " n"] = field(default_factory=lambda: _none())

    def healthy_subjects(self, part: str) -> list[str]:
        """Return the healthy subjects of a part (train, val, test), sorted."""
        return sorted(name for name, own in self.healthy_split.items() if own == part)

    def manifest(self) -> dict[str, Any]:
        """Return the split as plain values: subjects by part, slices by list and scan, and a hash of all of it."""
        lists = ("train_normals", "val_normals", "test_normals", "test_abnormals")
        content = {
            "dataset": self.store.dataset,
            "store": self.store.content_hash,
            "rules": asdict(self.rules),
            "validation": self.validation,
            "subjects": {part: sorted(name for name, own in self.split.items() if own == part) for part in PARTS},
            "slices": {name: self._by_scan(getattr(self, name)) for name in lists},
        }
        if self.healthy_split:  # left out without healthy subjects, so that the hash of such splits stays
            listed = {part: self._by_scan(getattr(self, f"healthy_{part}")) for part in PARTS}
            subjects = {part: self.healthy_subjects(part) for part in PARTS}
            content["healthy"] = {"normals": self.normals, "subjects": subjects, "slices": listed}
        return {**content, "hash": stable_hash(content)}

    def _by_scan(self, rows: Int[ndarray, " n"]) -> dict[str, list[int]]:
        table = self.store.slices.iloc[rows]
        return {
            str(scan): [int(index) for index in sorted(group["slice"])]
            for scan, group in table.groupby("scan", sort=True)
        }


def _none() -> Int[ndarray, " 0"]:
    import numpy as np

    return np.zeros(0, np.int64)


def select_slices(
    store: SliceStore,
    rules: SliceRules,
    split: Mapping[str, str],
    need: Sequence[str] = ("train", "test"),
    healthy: Mapping[str, str] | None = None,
    normals: str = LESION_FREE,
) -> Selection:
    """Apply the slice rules to a store.

    A slice is normal if it has no label and is at least ``normal_margin`` slices from one; abnormal if its lesion has
    at least ``min_lesion_px`` pixels; both need ``min_brain``. Test normals are matched in height to the abnormals.
    In a store made from PNGs, the tree decides instead.

    Args:
        store: The slices.
        rules: The rules.
        split: Part of each patient, from ``split_store``; subjects missing from it are left out.
        need: Which of ``train`` and ``test`` must not be empty; a set used only for testing needs ``test`` alone.
        healthy: Part of each healthy subject, from ``split_healthy``; they count in the lists ``healthy_...``, and in
            those to train and validate on only if ``normals`` says so.
        normals: Whether ``lesion-free`` slices of patients are trained and validated on, or ``healthy`` subjects.

    Raises:
        UserError: If a required list is empty.
    """
    table = store.slices
    fixed = bool((table["part"] != "").any())
    lists = _listed(table) if fixed else _chosen(table, rules, split)
    train, val, negatives, positives, normal, abnormal = lists
    own = _healthy_slices(table, rules, healthy or {})
    if normals == HEALTHY:
        train, val = own[:2]
    validation = "subjects"
    if not len(val):
        train, val = _slice_block(table, train)
        validation = "slice block" if len(val) else "none"
    train = _spread(train, rules.max_train)
    if "train" in need:
        _check_source(store, normals)
        _check_train(store, rules, normal, train, normals)
    if "test" in need:
        _check_test(store, rules, abnormal, positives, negatives)
    if rules.match_height and not fixed:
        matched = _match_height(table, positives, negatives, rules.height_caliper_mm)
        if "test" in need and not len(matched):
            raise UserError(
                f"No lesion-free test slice of {store.dataset} in {store.path} lies within "
                f"{rules.height_caliper_mm:g} mm in height of one with a lesion; raise height_caliper_mm in the "
                "protocol, or set match_height = false."
            )
        negatives = matched
    found = Selection(train, val, negatives, positives, validation, store, rules, dict(split), dict(healthy or {}))
    return replace(found, normals=normals, healthy_train=own[0], healthy_val=own[1], healthy_test=own[2])


def _healthy_slices(table: pd.DataFrame, rules: SliceRules, healthy: Mapping[str, str]) -> list[Any]:
    """Return the brain slices of the healthy subjects of each part."""
    import numpy as np

    part = table["subject"].map(healthy).to_numpy()
    brain = (table["brain"] >= rules.min_brain).to_numpy()
    return [np.flatnonzero(brain & (part == name)) for name in PARTS]


def _chosen(table: pd.DataFrame, rules: SliceRules, split: Mapping[str, str]) -> tuple[Any, ...]:
    """Return indices (train, val, test normal, test abnormal) by the rules, and the normal and abnormal slices."""
    import numpy as np

    part = table["subject"].map(split).to_numpy()
    normal, abnormal = (np.asarray(mask) for mask in _classes(table, rules))
    positives = np.flatnonzero(abnormal & (part == "test"))
    if rules.max_test:
        subjects = table["subject"].to_numpy()[positives]
        kept = [_spread(positives[subjects == name], rules.max_test) for name in dict.fromkeys(subjects)]
        positives = np.sort(np.concatenate(kept)) if kept else positives
    rows = [np.flatnonzero(normal & (part == name)) for name in PARTS]
    return (*rows, positives, normal, abnormal)


def _listed(table: pd.DataFrame) -> tuple[Any, ...]:
    """Return the same for a store whose source assigns each slice to a part; the rules do not apply."""
    import numpy as np

    part = table["part"].to_numpy()
    normal, abnormal = np.asarray(part != "test/abnormal"), np.asarray(part == "test/abnormal")
    rows = [np.flatnonzero(part == name) for name in ("train", "val", "test/normal", "test/abnormal")]
    return (*rows, normal, abnormal)


def _classes(table: pd.DataFrame, rules: SliceRules) -> tuple[Any, Any]:
    """Return which slices are normal and which abnormal."""
    brain = table["brain"] >= rules.min_brain
    distance = table["lesion_distance"]
    # A cavity counts as a label here: switching it off as abnormal does not make it normal anatomy.
    normal = brain & ((distance == -1) | (distance >= max(rules.normal_margin, 1)))
    pixels = table["lesion_px"] if rules.cavity else table["lesion_px"] - table["cavity_px"]
    return normal, brain & (pixels >= max(rules.min_lesion_px, 1))


def _spread(rows: Int[ndarray, " n"], most: int) -> Int[ndarray, " m"]:
    """Return at most ``most`` indices (0 for all), evenly spread over the list."""
    import numpy as np

    if not most or len(rows) <= most:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, most).round().astype(int)])


def _slice_block(table: pd.DataFrame, rows: Int[ndarray, " n"]) -> tuple[Int[ndarray, " t"], Int[ndarray, " v"]]:
    """Take a contiguous block out of each training subject's normal slices, with a gap on both sides.

    A subject's block spans the same slices in all its scans; its position is drawn from the subject's hash, so that
    blocks of different subjects lie at different heights. A subject that would lose all its slices keeps them all.
    """
    import numpy as np

    slices, subjects = table["slice"].to_numpy()[rows], table["subject"].to_numpy()[rows]
    state = np.zeros(len(rows), int)
    for name in sorted(set(subjects)):
        own = subjects == name
        numbers = np.unique(slices[own])
        length = max(1, round(BLOCK_FRACTION * len(numbers)))
        starts = [
            first
            for first, last in zip(numbers, numbers[length - 1 :], strict=False)
            if last - first == length - 1 and (np.maximum(first - numbers, numbers - last) >= BLOCK_GAP).any()
        ]
        if starts:
            first = starts[int(stable_hash(["block", name])[:8], 16) % len(starts)]
            away = np.maximum(first - slices, slices - (first + length - 1))
            state[own & (away <= 0)] = 1
            state[own & (away > 0) & (away < BLOCK_GAP)] = 2
    return rows[state == 0], rows[state == 1]


def _match_height(
    table: pd.DataFrame, positives: Int[ndarray, " p"], negatives: Int[ndarray, " n"], caliper: float
) -> Int[ndarray, " m"]:
    """Pair each abnormal slice with the nearest unused normal slice within the caliper.

    Slices with the fewest normals within reach choose first, ties by key: otherwise the only normal that one slice
    can have would often go to another that has a choice.
    """
    import numpy as np

    height, key = table["height_mm"].to_numpy(), table["key"].to_numpy()
    candidates = negatives[np.argsort(key[negatives])]
    levels = np.sort(height[candidates])
    own = height[positives]
    reach = np.searchsorted(levels, own + caliper, "right") - np.searchsorted(levels, own - caliper, "left")
    free = np.ones(len(candidates), bool)
    for row in positives[np.lexsort((key[positives], reach))]:
        if not free.any():
            break
        gap = np.where(free, np.abs(height[candidates] - height[row]), np.inf)
        nearest = int(gap.argmin())
        if gap[nearest] <= caliper:
            free[nearest] = False
    return np.asarray(np.sort(candidates[~free]))


def _check_source(store: SliceStore, normals: str) -> None:
    """Refuse a source of normals that a training set does not have.

    Raises:
        UserError: If healthy subjects are wanted and there are none, or patients and there are none.
    """
    healthy = store.healthy_subjects
    if normals == HEALTHY and not healthy:
        raise UserError(
            f"{store.dataset} in {store.path} has no healthy subject, but the protocol trains on them (normals = "
            '"healthy"); train on a set that has some, such as ixi, or write normals = "lesion-free".'
        )
    if normals == LESION_FREE and healthy and healthy.issuperset(store.slices["subject"]):
        raise UserError(
            f"{store.dataset} in {store.path} has only healthy subjects, but the protocol trains on lesion-free slices "
            'of patients; write normals = "healthy" below [train].'
        )


def _check_train(
    store: SliceStore, rules: SliceRules, normal: Int[ndarray, " n"], train: Int[ndarray, " t"], normals: str
) -> None:
    if len(train):
        return
    if normals == HEALTHY:
        raise UserError(
            f"No healthy training subject of {store.dataset} in {store.path} has a slice with {_brain_rule(rules)}; "
            "add healthy subjects, or lower min_brain or raise split.healthy.train in the protocol."
        )
    who = "No training subject" if normal.any() else "No subject"
    raise UserError(
        f"{who} of {store.dataset} in {store.path} has a lesion-free slice by the rules {_normal_rule(rules)}; add "
        "patients, or lower normal_margin or min_brain in the protocol."
    )


def _check_test(
    store: SliceStore,
    rules: SliceRules,
    abnormal: Int[ndarray, " n"],
    positives: Int[ndarray, " p"],
    negatives: Int[ndarray, " q"],
) -> None:
    if not len(positives):
        who = "No test subject" if abnormal.any() else "No subject"
        rule = f"(lesion at least {rules.min_lesion_px} pixels, {_brain_rule(rules)})"
        raise UserError(
            f"{who} of {store.dataset} in {store.path} has a slice with a lesion by the rules {rule}; lower "
            "min_lesion_px in the protocol, add patients, or choose a data set with lesions."
        )
    if not len(negatives) and store.boxes is None:
        raise UserError(
            f"No test subject of {store.dataset} in {store.path} has a lesion-free slice by the rules "
            f"{_normal_rule(rules)}; add patients, or lower normal_margin or min_brain in the protocol."
        )


def _normal_rule(rules: SliceRules) -> str:
    return f"(no label, at least {rules.normal_margin} slices from one, {_brain_rule(rules)})"


def _brain_rule(rules: SliceRules) -> str:
    return f"brain at least {100 * rules.min_brain:g} % of the field"
