"""A plugin with a small trained method, and one method for each thing that can go wrong."""

from __future__ import annotations

from pathlib import Path

BAD = (
    "raise", "nan", "nan-loss", "shape", "dtype", "memory", "exit", "exit-zero", "segfault", "hang", "deaf", "fork",
    "fork-back", "prints", "disk", "killed", "binary",
)  # fmt: skip

MODULE = '''
import ctypes, os, signal, sys, tempfile, time
from anyadbench.methods.descriptor import MethodDescriptor
from anyadbench.methods.params import Param

PARAMS = (
    Param("batch_size", 8, "Slices per step.", minimum=1),
    Param("steps", 12, "Training steps.", minimum=0),
    Param("do", "nothing", "What goes wrong."),
)


def describe(name, do):
    return MethodDescriptor(
        name=name, title=name, summary="Toy.", factory="toy_methods:build", params=PARAMS, training_mask="per-sample",
        budgets={"tiny": {"do": do}},
    )


TOY = describe("toy", "nothing")


def __getattr__(name):
    if name.startswith("BAD_"):
        do = name[4:].lower().replace("_", "-")
        return describe("bad-" + do, do)
    raise AttributeError(name)


def build(context):
    import torch
    from torch import nn
    from anyadbench.methods.contract import Method, OptimizerSpec, Scores

    class Toy(Method):
        """Learns to undo noise and dropout, so that every generator and the optimiser's state matter."""

        def __init__(self, context):
            super().__init__(context)
            self.net = nn.Sequential(nn.Conv2d(len(context.sequences), 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
                                     nn.Dropout(0.2), nn.Conv2d(4, len(context.sequences), 1))
            self.register_buffer("mean", torch.zeros(len(context.sequences)))
            self.do = str(context.params["do"])

        def prepare(self, normals):
            count = 0
            for batch in normals.batches(8, description="toy statistics"):
                self.mean += batch.inputs.mean((2, 3)).sum(0)
                count += len(batch)
            self.mean /= count

        def optimizers(self):
            return {"main": OptimizerSpec(torch.optim.Adam(self.net.parameters(), lr=0.01),
                                          schedule=lambda step, total: 1 - step / total, clip_norm=1.0)}

        def training_step(self, batch, step, total):
            time.sleep(float(os.environ.get("TOY_PAUSE", "0")))
            if "TOY_FAIL" in os.environ:
                raise RuntimeError(os.environ["TOY_FAIL"])
            if step == 1:
                misbehave(self.do)
            noise = torch.randn_like(batch.inputs) * 0.1
            loss = (self.net(batch.inputs + noise) - batch.targets).square().mean()
            return {"main": {"loss": loss * float("nan") if self.do == "nan-loss" else loss}}

        def score(self, batch):
            time.sleep(float(os.environ.get("TOY_SCORE_PAUSE", "0")))
            maps = (self.net(batch.inputs) - batch.inputs).abs().mean(1)
            if self.do == "nan":
                maps[0, 0, 0] = float("nan")
            if self.do == "shape":
                maps = maps[:, None]
            if self.do == "dtype":
                maps = maps.long()
            return Scores(maps)

    return Toy(context)


def misbehave(do):
    if do == "raise":
        raise RuntimeError("no such luck")
    if do == "memory":
        import torch
        torch.empty(2**48)
    if do == "exit":
        os._exit(3)
    if do == "exit-zero":
        os._exit(0)
    if do == "segfault":
        ctypes.string_at(0)
    if do == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "hang":
        time.sleep(1000)
    if do == "deaf":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        time.sleep(1000)
    if do == "fork" and os.fork() == 0:
        time.sleep(1000)
    if do == "fork-back":
        os.fork()
    if do == "prints":
        for i in range(40):
            print("x" * 2**20, flush=True)
            time.sleep(0.02)
        raise RuntimeError("said enough")
    if do == "binary":
        os.write(1, bytes(range(256)))
        sys.stderr.write("\\x1b[2J\\x1b]0;owned\\x07")
        raise RuntimeError("\\x1b[31mred")
    if do == "disk":
        for i in range(10000):
            with open(os.path.join(tempfile.gettempdir(), f"junk-{i}"), "wb") as file:
                file.write(bytes(2**20))
                file.flush()
                os.fsync(file.fileno())
'''


def install(site: Path) -> Path:
    """Install the plugin as a distribution into ``site``, which is put on ``PYTHONPATH``."""
    site.mkdir(parents=True, exist_ok=True)
    (site / "toy_methods.py").write_text(MODULE)
    info = site / "toy_methods-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-methods\nVersion: 1.0\n")
    bad = "".join(f"bad-{do} = toy_methods:BAD_{do.upper().replace('-', '_')}\n" for do in BAD)
    (info / "entry_points.txt").write_text(f"[anyadbench.methods]\ntoy = toy_methods:TOY\n{bad}")
    return site
