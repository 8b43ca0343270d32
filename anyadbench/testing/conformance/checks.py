"""The checks that need the method to run; each raises ``Broken`` with one sentence, or returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anyadbench.engine.numerics import seed_everything
from anyadbench.engine.protocol_data import ProtocolData
from anyadbench.errors import UserError
from anyadbench.methods.contract import Method
from anyadbench.predict.agreement import allowed
from anyadbench.sequences import COMMON, format_subset
from anyadbench.testing.conformance.bench import SEED, Bench, Broken, Scored, Skipped, Warned, on_grid, same_state
from anyadbench.testing.conformance.samples import PROTOCOL, with_hidden_rewritten

if TYPE_CHECKING:
    from jaxtyping import Float

TOLERANCE = 1e-5
"""Largest difference of maps between batches, see ``allowed``."""

FULL = PROTOCOL.sequences

COPIED, COPIED_BYTES = 0.25, 100_000
"""Share and bytes of a stored state that are as before fitting from which the kit warns."""


@dataclass
class Fitted:
    """A fitted method and what the checks share.

    Attributes:
        bench: Builds, fits and scores.
        data: Slices of the original store.
        changed: Slices of the store in which everything that fitting must not see is rewritten.
        method: Fitted on ``data``.
        state: File with its state.
        values: Slices to score, of test scans with every sequence.
        steady: Whether a second fit with the same seed had the identical state.
        repeats: Whether scoring the same slices twice gave identical maps.
    """

    bench: Bench
    data: ProtocolData
    changed: ProtocolData
    method: Method
    state: Path
    values: Float[np.ndarray, "B S H W"]
    steady: bool = True
    repeats: bool = True

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the slices."""
        return (self.values.shape[2], self.values.shape[3])

    def score(self, method: Method | None = None, subset: tuple[str, ...] = FULL) -> Scored:
        """Score every slice in one batch."""
        return self.bench.score(method or self.method, self.values, subset)

    def fresh(self) -> Method:
        """Return a new method with the stored state."""
        return self.bench.load(self.state, self.grid)


def maps_finite(fitted: Fitted) -> None:
    """Check type, shape and values of what ``score`` returns for every subset."""
    for subset in PROTOCOL.subsets:
        _finite(fitted, fitted.score(subset=subset), f"shown {format_subset(subset)}")


def _finite(fitted: Fitted, scored: Scored, where: str) -> None:
    maps = on_grid(scored.maps, fitted.grid)
    if not np.isfinite(maps).all():
        raise Broken(f"{int((~np.isfinite(maps)).sum())} pixels of the maps are NaN or infinite, {where}.")
    if scored.images is not None and not np.isfinite(scored.images).all():
        raise Broken(f"An image score is NaN or infinite, {where}.")


def same_seed(fitted: Fitted) -> None:
    """Fit again on the same data with the same seed."""
    fitted.steady = False
    again = fitted.bench.fit(fitted.data)
    fitted.steady = same_state(fitted.method.saved_state(), again.saved_state())
    fitted.repeats = fitted.score().same(fitted.score())
    if not fitted.steady:
        raise Broken("Fitted twice with one seed, the method has a different state: fitting is not deterministic.")
    if not fitted.repeats:
        raise Broken("Scored twice without any change, it gives different maps: scoring is not deterministic.")
    if not fitted.score().same(fitted.score(again)):
        fitted.steady = False
        raise Broken("Fitted twice with one seed, the method has the same state, but gives different maps.")


def fit_normals_only(fitted: Fitted) -> None:
    """Fit on data with all but the training normals rewritten, and check what fitting asked for."""
    bench = fitted.bench
    if bench.asked:
        raise Broken(f"Fitting {bench.asked[0]}, which is not in the contract.")
    if bench.guard.reads:
        raise Broken(f"Fitting {bench.guard.reads[0]}, a file of the data set.")
    if not fitted.steady:
        raise Skipped("Fitting is not deterministic (same-seed), so its result does not show what it has seen.")
    other = bench.fit(fitted.changed)
    what = "With masks and all slices but the training normals rewritten, the fitted method"
    if not same_state(fitted.method.saved_state(), other.saved_state()):
        raise Broken(f"{what} has a different state.")
    if fitted.repeats and not fitted.score().same(fitted.score(other)):
        raise Broken(f"{what} has the same state, but gives different maps.")


def stored_once(fitted: Fitted) -> None:
    """Compare the stored state with that before fitting: what is equal, and large, is a copy of the weights."""
    bench = fitted.bench
    if bench.weights.kind == "none":
        return
    before, after = bench.build(fitted.grid).saved_state(), fitted.method.saved_state()
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in after.items()}
    equal = [name for name in after if name in before and same_state({name: before[name]}, {name: after[name]})]
    copied, whole = sum(sizes[name] for name in equal), sum(sizes.values())
    if copied > COPIED * whole and copied > COPIED_BYTES:
        largest = max(equal, key=lambda name: sizes[name])
        raise Warned(
            f"{copied / 1e6:.1f} of the {whole / 1e6:.1f} MB that a cell stores are as they were before fitting, such "
            f"as {largest!r}; if they come from the pretrained weights, anyadbench.api.freeze leaves them out."
        )


def save_load(fitted: Fitted) -> None:
    """Load the stored state into a new method."""
    _demand_repeats(fitted, "whether a new method with the stored state gives the same maps")
    if not fitted.score().same(fitted.score(fitted.fresh())):
        raise Broken("A new method with the stored state gives different maps; is all state a parameter or a buffer?")


def batch_independent(fitted: Fitted) -> None:
    """Score one by one, in another order and in parts, and compare with one batch."""
    _demand_repeats(fitted, "whether slices influence each other")
    values, count = fitted.values, len(fitted.values)
    order = np.arange(count)
    for subset in (FULL, PROTOCOL.subsets[0]):
        whole = fitted.score(subset=subset)
        ways = {
            "one by one": [order[i : i + 1] for i in range(count)],
            "in reversed order": [order[::-1]],
            "in two parts": [order[: count // 2], order[count // 2 :]],
        }
        for name, parts in ways.items():
            for part in parts:
                scored = fitted.bench.score(fitted.method, np.ascontiguousarray(values[part]), subset)
                _close(whole, scored, part, f"Scored {name}, shown {format_subset(subset)},")


def _close(whole: Scored, scored: Scored, part: np.ndarray, what: str) -> None:
    pairs = [("maps", whole.maps, scored.maps)]
    if whole.images is not None and scored.images is not None:
        pairs.append(("image scores", whole.images, scored.images))
    for name, expected, found in pairs:
        if found[0].shape != expected[0].shape:
            raise Broken(f"{what} {name} have a different shape than in one batch.")
        error = float(np.abs(expected[part] - found).max())
        most = allowed(expected, TOLERANCE)
        if not error <= most:
            raise Broken(f"{what} {name} differ by {error:.1e} from those of one batch; at most {most:.0e} is allowed.")


def hidden_sequence(fitted: Fitted) -> None:
    """Score slices with all sequences and then with a subset; once more with the hidden sequences rewritten."""
    first, again, second = (fitted.fresh() for _ in range(3))
    for subset in PROTOCOL.subsets:
        if subset == FULL:
            continue
        changed = with_hidden_rewritten(fitted.values, subset)
        original, repeated = (_after_whole(fitted, method, fitted.values, subset) for method in (first, again))
        if not original.same(repeated):
            raise Skipped(
                f"Shown {format_subset(subset)}, scores differ from call to call without any change: the method is not "
                "deterministic, even with the same random numbers, so they do not show what it has seen."
            )
        if not original.same(_after_whole(fitted, second, changed, subset)):
            raise Broken(f"Shown {format_subset(subset)}, scores change when the other sequences are rewritten.")


def _after_whole(
    fitted: Fitted, method: Method, values: Float[np.ndarray, "B S H W"], subset: tuple[str, ...]
) -> Scored:
    """Score slices with all sequences and then with a subset, from the same random numbers each time."""
    seed_everything(SEED)
    fitted.bench.score(method, values, FULL)
    return fitted.bench.score(method, values, subset)


def _demand_repeats(fitted: Fitted, what: str) -> None:
    if not fitted.repeats:
        raise Skipped(f"Scoring is not deterministic (same-seed), so maps do not show {what}.")


def every_subset(fitted: Fitted) -> None:
    """Score every subset under every declared policy, and build the method for other sets of sequences."""
    bench = fitted.bench
    for policy in bench.descriptor.missing_policies:
        method = fitted.method if policy == "native" else bench.load(fitted.state, fitted.grid, policy)
        for subset in PROTOCOL.subsets:
            where = f"shown {format_subset(subset)} with --missing {policy}"
            try:
                scored = bench.score(method, fitted.values[:2], subset)
            except Exception as error:  # a method may raise anything
                raise Broken(f"It fails {where}: {bench.blame(error)}") from error
            _finite(fitted, scored, where)
    for sequences in (("flair",), COMMON):
        try:
            bench.build(fitted.grid, sequences=sequences)
        except UserError:
            continue  # a refusal in one sentence is allowed
        except Exception as error:
            raise Broken(
                f"It cannot be built for {' and '.join(sequences)}: {bench.blame(error)}; raise UserError with the "
                "reason if it does not support them."
            ) from error


def writes_inside(fitted: Fitted) -> None:
    """Check the guard's records, and folders that should be empty."""
    left = sorted(str(path) for path in Path.cwd().rglob("*") if path.is_file())
    written = [*fitted.bench.guard.writes, *(f"left the file {path}" for path in left)]
    if written:
        raise Broken(f"It acted outside the cell's folder: {'; '.join(written[:3])}.")


def no_network(fitted: Fitted) -> None:
    """Check the guard's records."""
    if fitted.bench.guard.network:
        raise Broken(f"It tried {'; '.join(fitted.bench.guard.network[:3])}.")


RUNNING = {
    "maps-finite": maps_finite,
    "same-seed": same_seed,
    "save-load": save_load,
    "stored-once": stored_once,
    "batch-independent": batch_independent,
    "hidden-sequence": hidden_sequence,
    "every-subset": every_subset,
    "fit-normals-only": fit_normals_only,
    "writes-inside": writes_inside,
    "no-network": no_network,
}
"""Check by id, in running order: the last two report on all before them."""
