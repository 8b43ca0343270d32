"""What the host spends on AnyAD in each of six places, before and after, side by side.

On a GPU most of a step's time is the host's, which starts some 1,800 kernels. A small network and tiny slices on the
CPU show this work, because the arithmetic takes little time beside it. Both sides alternate, so other load on the
machine affects both. Where results must be equal to the bit, the script checks that they are.

    python benchmarks/host_work.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from anyad_step import SEQUENCES, batch_of
from torch import Tensor

from anyadbench.engine.batches import evaluation_batch
from anyadbench.engine.calls.joint import JointCalls
from anyadbench.engine.calls.pending import Pending
from anyadbench.engine.checkpoints import generator_states
from anyadbench.engine.compiling import Compiled
from anyadbench.engine.numerics import Policy
from anyadbench.engine.reporter import Reporter
from anyadbench.engine.stepping.frozen import hold_frozen
from anyadbench.engine.stepping.modes import TrainingMode
from anyadbench.methods.contract import Batch, Context
from anyadbench.methods.inputs import as_rgb, channel_table
from anyadbench.sequences import Subset, all_subsets
from anyadbench.weights import resolve
from anyadbench_anyad.descriptors import ANYAD
from anyadbench_anyad.method import AnyAd

HALF = Policy(dtype="bfloat16", threads=1)
SIZE, COUNT = 28, 4


def build() -> AnyAd:
    """Build AnyAD's default form on a random encoder, the same at each call."""
    torch.manual_seed(0)
    weights = resolve("random", {"published": "vit_small_patch14_reg4_dinov2.lvd142m"})
    params = ANYAD.resolve("paper", {"image_size": SIZE})
    method = ANYAD.build(Context(params, SEQUENCES, (SIZE, SIZE), weights))
    assert isinstance(method, AnyAd)
    return method.train()


def two_calls(method: AnyAd, batch: Batch) -> list[Tensor]:
    """Encode shown and full input one after the other."""
    assert batch.targets is not None and batch.present is not None
    shown = method.network.encode(method.pixels(batch.inputs, batch.shown)).groups
    return [*shown, *method.network.encode(method.pixels(batch.targets, batch.present)).groups]


def one_call(method: AnyAd, batch: Batch) -> list[Tensor]:
    """Encode both in one call."""
    shown, full = method.encode_training(batch)
    assert full is not None
    return [*shown.groups, *full.groups]


def copied_tables(batch: Batch) -> Tensor:
    """Do what ``as_rgb`` did for its tables: make them at each call."""
    table = channel_table(3, "stack", "zero-norm")
    for values in (table, table, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)):
        made = torch.tensor(values, dtype=batch.inputs.dtype).to(batch.inputs.device, non_blocking=True)
    return made


def full_snapshot(method: AnyAd) -> None:
    """Do what ``Compiled`` did before each call."""
    generator_states()
    trained = {name for name, parameter in method.named_parameters() if parameter.requires_grad}
    for name, value in method.saved_state().items():
        if name not in trained:
            value.clone()


def seconds(function: Callable[[], object]) -> float:
    """Return the seconds that one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(name: str, before: Callable[[], object], after: Callable[[], object], rounds: int) -> None:
    """Print the medians of both sides and the ratio of their times."""
    before(), after()
    pairs = [(seconds(before), seconds(after)) for _ in range(rounds)]
    old, new = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{name:44s} {old:8.3f} ms -> {new:8.3f} ms   ratio {ratio:.2f}")


def in_half(function: Callable[[], object]) -> Callable[[], object]:
    """Return the function under bfloat16 autocast."""

    def run() -> object:
        with HALF.autocast():
            return function()

    return run


def scoring(rounds: int) -> None:
    """Compare scoring 16 slices with seven subsets by a network that costs nothing, apart and together."""
    values = np.random.default_rng(0).random((16, 3, 240, 240)).astype(np.float32)
    names, cpu = [""] * len(values), torch.device("cpu")

    def call(batch: Batch, names: list[str]) -> Pending:
        maps = batch.inputs[:, 0].numpy()
        return lambda: (maps, np.zeros(len(maps)))

    def one(part: np.ndarray, subset: Subset, names: list[str]) -> Pending:
        return call(evaluation_batch(part, subset, SEQUENCES, cpu), names)

    wanted = [(subset, np.arange(len(values))) for subset in all_subsets(SEQUENCES)]
    apart, shared = (JointCalls(one, call, SEQUENCES, cpu, allowed=allowed) for allowed in (False, True))
    pairs = zip(apart.score(values, wanted, names), shared.score(values, wanted, names), strict=True)
    assert all(np.array_equal(a, b) for pair in pairs for a, b in zip(*(side() for side in pair), strict=True)), (
        "scores differ"
    )
    compare(
        "feeding 16 slices x 7 subsets: apart -> shared",
        lambda: [scored() for scored in apart.score(values, wanted, names)],
        lambda: [scored() for scored in shared.score(values, wanted, names)],
        rounds,
    )
    print("    maps equal to the bit")


def main() -> None:
    """Print one line per place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    method, held, batch = build(), build(), batch_of(0, COUNT, SIZE, torch.device("cpu"))
    layers = hold_frozen(held, HALF)
    print(f"AnyAD teacher, ViT-S/14, {SIZE} px, batch {COUNT}, one thread; {layers} frozen layers held in bfloat16")

    apart, joined = two_calls(method, batch), one_call(method, batch)
    gap = max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(apart, joined, strict=True))
    compare(
        "encoder: two calls -> one of twice the batch",
        lambda: two_calls(method, batch),
        lambda: one_call(method, batch),
        rounds,
    )
    print(f"    largest relative difference of features {gap:.1e}")

    losses = [in_half(partial(one.training_step, batch, 0, 1))() for one in (method, held)]
    equal = all(torch.equal(losses[0]["main"][name], losses[1]["main"][name]) for name in losses[0]["main"])  # type: ignore[index]
    assert equal, "losses with held weights differ"
    compare(
        "bfloat16 step: cast at each call -> held",
        in_half(lambda: method.training_step(batch, 0, 1)),
        in_half(lambda: held.training_step(batch, 0, 1)),
        rounds,
    )
    print("    losses equal to the bit")
    plain = lambda: (copied_tables(batch), as_rgb(batch.inputs, batch.shown, "zero-norm"))  # noqa: E731
    compare("channel tables: copied -> kept", plain, lambda: as_rgb(batch.inputs, batch.shown, "zero-norm"), rounds)
    compiled = Compiled(method.training_step, method, Reporter(), enabled=False)
    compiled._proven = True
    compare("compiled call: state_dict -> what may change", lambda: full_snapshot(method), compiled._snapshot, rounds)
    mode = TrainingMode(method)
    compare("training mode: train() -> modes compared", method.train, mode.enter, rounds)
    scoring(rounds)


if __name__ == "__main__":
    main()
