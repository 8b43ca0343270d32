"""The parts of ``gpu.py`` that train on batches which lie on the device: steps, resuming, and precision."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
from anyad_step import PlainStep, batch_of
from anyad_step import build as build_published
from gpu_common import Pool, Sizes, Watch, build, graph_of, trained, wait
from torch.utils.flop_counter import FlopCounterMode

from anyadbench.engine.numerics import Policy
from anyadbench.engine.trainer import Trainer
from anyadbench.methods.contract import Batch

SHARES = {16: 0.35, 64: 0.4}
"""Goal of the share of the card's peak by batch size, for a step as a graph."""

WAYS = ((False, False), (True, False), (True, True))
"""Whether steps are captured, and whether transformer blocks are compiled."""

READY = 20
"""Goal in seconds from the beginning of a training to the first step at full speed."""


def pool(count: int, sizes: Sizes, policy: Policy) -> Pool:
    """Return batches of ``count`` slices at the network's own size."""
    return Pool([batch_of(number, count, sizes.pixels, policy.torch_device()) for number in range(3)])


def peak(sizes: Sizes, policy: Policy) -> float:
    """Return the TFLOP/s of a bfloat16 matrix product."""
    x = torch.randn(sizes.product, sizes.product, device=policy.torch_device(), dtype=torch.bfloat16)
    times = []
    for _ in range(12):
        wait(policy)
        start = time.perf_counter()
        x @ x
        wait(policy)
        times.append(time.perf_counter() - start)
    return float(2 * sizes.product**3 / statistics.median(times[4:]) / 1e12)


def flops(sizes: Sizes, policy: Policy, batch: Batch) -> float:
    """Return the TFLOP of a training step, forward and backward."""
    method = build(sizes, policy, (sizes.pixels, sizes.pixels)).train()
    with FlopCounterMode(display=False) as counter:
        with policy.autocast():
            losses = method.training_step(batch, 0, 1)["main"]
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops() / 1e12)


def plain_seconds(sizes: Sizes, policy: Policy, feed: Pool) -> float:
    """Return the time of the plain float32 step."""
    step, times = PlainStep(build_published(sizes.architecture, sizes.pixels, policy.torch_device())), []
    for number in range(8):
        wait(policy)
        start = time.perf_counter()
        step(feed.at(number), 1e-3)
        wait(policy)
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:])


def starting(trainer: Trainer, watch: Watch) -> str:
    """Return in words how long a training took to its first step, and to its first step as a graph."""
    first = f"first step after {watch.ends[1] - watch.began:.1f} s"
    if watch.ready is None:
        return first
    return f"{first}, graph in use after {watch.ready - watch.began:.1f} s (goal {READY})"


def steps(sizes: Sizes, policy: Policy, work: Path) -> None:
    """Print the time of a step: plain float32, and in each of ``WAYS``, of which the last is the default on a GPU."""
    limit = peak(sizes, policy)
    print(f"bfloat16 matrix product: {limit:.1f} TFLOP/s")
    for count in sizes.batches:
        feed, plain, eager = pool(count, sizes, policy), None, 0.0
        cost = flops(sizes, policy, feed.at(0))
        print(f"step, batch {count}: {cost:.3g} TFLOP")
        if count == sizes.batches[0]:
            plain = plain_seconds(sizes, policy, feed)
            print(f"step, batch {count}: plain float32 {plain * 1e3:.1f} ms")
        for graph, blocks in WAYS:
            own = replace(policy, blocks=blocks and policy.device == "cuda")
            trainer, watch = trained(sizes, own, feed, work / f"{count}-{graph}-{blocks}", graph=graph)
            took = watch.step_seconds()
            eager = eager or took
            ratios = f", {plain / took:.1f} times plain (goal 10)" if plain else ""
            goal = f" (goal {SHARES[count]:.0%})" if blocks and count in SHARES else ""
            losses = ", ".join(f"{name} {value:.4f}" for name, value in trainer.history[-1]["losses"].items())
            print(
                f"step, batch {count}, graph {graph_of(trainer)}, compiled {trainer.compile_state}: {took * 1e3:.1f} ms"
                f"{ratios}, {eager / took:.2f} times eager, {cost / took / limit:.0%} of peak{goal}, "
                f"{starting(trainer, watch)}; last losses {losses}"
            )


def resuming(sizes: Sizes, policy: Policy, work: Path) -> None:
    """Print whether a training that was stopped ends with the same bits under ``--deterministic``."""
    assert policy.deterministic
    feed = pool(2, sizes, policy)
    whole, _ = trained(sizes, policy, feed, work / "whole")
    trained(sizes, policy, feed, work / "cut", stop=sizes.steps // 2)
    resumed, _ = trained(sizes, policy, feed, work / "cut")
    states = whole.method.saved_state(), resumed.method.saved_state()
    same = all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    print(
        f"resumed after {sizes.steps // 2} of {sizes.steps} steps, graph {graph_of(whole)}, then {graph_of(resumed)}: "
        f"equal bits {same}"
    )


def precision(sizes: Sizes, policy: Policy, work: Path) -> None:
    """Print the losses and the steps of one training in float32 and in bfloat16."""
    feed = pool(4, sizes, policy)
    ends, took = {}, {}
    for dtype in ("float32", "bfloat16"):
        trainer, watch = trained(sizes, replace(policy, dtype=dtype), feed, work / dtype)
        ends[dtype] = [sum(row["losses"].values()) for row in trainer.history]
        took[dtype] = watch.step_seconds()
        print(f"step, batch 4, {dtype}, graph {graph_of(trainer)}: {took[dtype] * 1e3:.1f} ms")
    print(f"bfloat16 is {took['float32'] / took['bfloat16']:.2f} times as fast as float32")
    for place in (0, len(ends["float32"]) // 2, -1):
        one, other = (ends[dtype][place] for dtype in ("float32", "bfloat16"))
        print(f"loss at row {place}: float32 {one:.4f}, bfloat16 {other:.4f}, ratio {other / one:.3f}")
