"""Time of one AnyAD training step against a plain implementation of the same step, side by side in one process.

The plain step does what the released training loop does: float32 without compilation, attention as two matrix products
and a softmax, all taps kept and stacked, losses on images with gradient hooks, an optimiser that waits for the device
once per tensor, and two losses read back per step. It shares weights and data with ours, so the two loss curves must
agree. Steps alternate, so other load on the machine affects both.

On CUDA our step is compiled by default, whereas ``anyadbench run`` compiles only with ``--compile``; ``--no-compile``
times the default step of ``anyadbench run``.

    python benchmarks/anyad_step.py              # CPU: ViT-S/14, 224 px, batch 4; CUDA: ViT-B/14, 392 px, batch 16
    python benchmarks/anyad_step.py --no-flush   # the same with subnormal floats
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anyadbench.methods.contract import Batch, Context, OptimizerSpec
from anyadbench.weights import resolve
from anyadbench_anyad.descriptors import ANYAD_INTENDED
from anyadbench_anyad.method import AnyAd
from anyadbench_baselines.inp.blocks import DecoderBlock, Extractor
from anyadbench_baselines.inp.encoder import TAPS
from anyadbench_baselines.inp.network import InpNetwork

SEQUENCES = ("flair", "t1", "t2")
GOALS = {"cpu": 1.5, "cuda": 6.0}


def heads_of(x: Tensor, heads: int) -> Tensor:
    """Split channels by head: B x N x D to B x heads x N x d."""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).permute(0, 2, 1, 3)


def plain_self_attention(block: nn.Module, x: Tensor) -> Tensor:
    """Softmax attention of one encoder block with its weight matrix held in memory."""
    attention = block.attn
    q, k, v = (heads_of(part, attention.num_heads) for part in attention.qkv(x).chunk(3, dim=-1))
    weights = (q * attention.scale @ k.transpose(-2, -1)).softmax(dim=-1)
    return attention.proj((weights @ v).transpose(1, 2).reshape(x.shape))


def plain_encoder(network: InpNetwork, pixels: Tensor) -> list[Tensor]:
    """Run the encoder block by block and keep every tapped output."""
    vit, kept = network.encoder.vit, []
    patches = vit.patch_embed(pixels)
    tokens = patches.flatten(1, 2) + network.encoder.positions(*patches.shape[1:3])
    prefix = [t.expand(len(pixels), -1, -1) for t in (vit.cls_token, vit.reg_token) if t is not None]
    x = torch.cat([*prefix, tokens], dim=1)
    for index in range(TAPS[-1][-1] + 1):
        block = vit.blocks[index]
        with torch.no_grad():
            x = x + block.ls1(plain_self_attention(block, block.norm1(x)))
            x = x + block.ls2(block.mlp(block.norm2(x)))
        if index >= TAPS[0][0]:
            kept.append(x)
    return [tap[:, 1 + network.encoder.config.registers :] for tap in kept]


def plain_extractor(block: Extractor, prototypes: Tensor, x: Tensor) -> Tensor:
    """Extract the prototypes of each slice with keys and values of every token."""
    attention, normed = block.attn, block.norm1(prototypes)
    q = heads_of(attention.q(normed), attention.heads)
    k, v = (heads_of(part, attention.heads) for part in attention.kv(block.norm1(x)).chunk(2, dim=-1))
    weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
    found = prototypes + attention.proj((weights @ v).transpose(1, 2).reshape(prototypes.shape))
    return found + block.mlp(block.norm2(found))


def plain_decoder(block: DecoderBlock, x: Tensor, prototypes: Tensor) -> Tensor:
    """Decode with queries, keys and values split by head."""
    attention = block.attn
    q = F.normalize(heads_of(attention.q(block.norm1(x)), attention.heads), dim=-1)
    k, v = (heads_of(part, attention.heads) for part in attention.kv(block.norm1(prototypes)).chunk(2, dim=-1))
    weights = F.relu(q @ F.normalize(k, dim=-1).transpose(-2, -1) * attention.learn_scale)
    mixed = attention.proj((weights @ v).transpose(1, 2).reshape(x.shape))
    return mixed + block.mlp(block.norm2(mixed))


def plain_forward(network: InpNetwork, pixels: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Return encoder and decoder groups as images, and the gathering loss."""
    taps = plain_encoder(network, pixels)
    x = torch.stack(taps, dim=1).mean(dim=1)
    prototypes = network.prototype_token.unsqueeze(0).repeat(len(pixels), 1, 1)
    prototypes = plain_extractor(network.aggregation[0], prototypes, x)
    distance = 1 - F.cosine_similarity(x.unsqueeze(2), prototypes.unsqueeze(1), dim=-1)
    gathering = distance.min(dim=2).values.mean()
    x, outputs = network.bottleneck[0](x), []
    for block in network.decoder:
        x = plain_decoder(block, x, prototypes)
        outputs.insert(0, x)
    side = math.isqrt(x.shape[1])

    def picture(parts: list[Tensor]) -> Tensor:
        fused = torch.stack(parts, dim=1).mean(dim=1)
        return fused.permute(0, 2, 1).reshape(len(pixels), -1, side, side).contiguous()

    return [picture(taps[:4]), picture(taps[4:])], [picture(outputs[:4]), picture(outputs[4:])], gathering


def plain_reconstruction(encoded: list[Tensor], decoded: list[Tensor]) -> Tensor:
    """Return the mined loss with a hook on each decoded image."""
    total = encoded[0].new_zeros(())
    for target, found in zip(encoded, decoded, strict=True):
        with torch.no_grad():
            distance = 1 - F.cosine_similarity(target, found).unsqueeze(1)
            factor = (distance / distance.mean()) ** 3
        total = total + (1 - F.cosine_similarity(target.flatten(1), found.flatten(1))).mean()
        found.register_hook(lambda gradient, factor=factor: gradient * factor.expand_as(gradient))
    return total / len(encoded)


class PlainStableAdamW:
    """The optimiser, one tensor at a time, with its scale read back to the host each time."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.state = [[torch.zeros_like(p) for _ in range(3)] for p in parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self, lr: float, decay: float = 1e-4, eps: float = 1e-10) -> None:
        """Update every parameter."""
        self.steps += 1
        for parameter, (first, second, largest) in zip(self.parameters, self.state, strict=True):
            gradient = parameter.grad
            parameter.mul_(1 - lr * decay)
            first.mul_(0.9).add_(gradient, alpha=0.1)
            second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            torch.max(largest, second, out=largest)
            denominator = (largest.sqrt() / math.sqrt(1 - 0.999**self.steps)).add_(eps)
            size = (gradient / denominator).norm(2) / parameter.numel() ** 0.5
            scale = max(1.0, size.item())
            parameter.addcdiv_(first, denominator, value=-lr / (1 - 0.9**self.steps) / scale)


class PlainStep:
    """The plain training step on a copy of the network."""

    def __init__(self, method: AnyAd) -> None:
        self.method = method
        self.network = copy.deepcopy(method.network)
        self.optimizer = PlainStableAdamW(self.network.trained())

    def __call__(self, batch: Batch, lr: float) -> float:
        """Train on one batch and return the loss without the alignment loss."""
        pixels = self.method.pixels(batch.inputs, batch.shown)
        encoded, decoded, gathering = plain_forward(self.network, pixels)
        flat = encoded[1].view(*encoded[1].shape[:2], -1)
        alignment = self.method.alignment
        aligned = F.mse_loss(flat.mean((0, 2)), alignment.target_mean[1])
        aligned = aligned + F.mse_loss(flat.std((0, 2)), alignment.target_std[1])
        loss = plain_reconstruction(encoded, decoded) + 0.2 * gathering
        total = loss + 0.4 * aligned
        for parameter in self.optimizer.parameters:
            parameter.grad = None
        total.backward()
        nn.utils.clip_grad_norm_(self.optimizer.parameters, 0.1)
        self.optimizer.step(lr)
        return total.item() - 0.4 * aligned.item()


class OurStep:
    """The plugin's step as the harness runs it; optionally compiled as by ``anyadbench run --compile``."""

    def __init__(self, method: AnyAd, dtype: torch.dtype, *, compiled: bool, onednn: bool) -> None:
        self.dtype, self.onednn = dtype, onednn
        self.spec: OptimizerSpec = method.optimizers()["main"]
        self.training_step: Callable[..., object] = method.training_step
        if compiled:
            self.training_step = torch.compile(method.training_step, dynamic=False)

    def __call__(self, batch: Batch, lr: float) -> Tensor:
        """Train on one batch and return the loss without the alignment loss, on the device."""
        torch.backends.mkldnn.matmul.fp32_precision = "bf16" if self.onednn else "none"
        try:
            return self._train(batch, lr)
        finally:
            torch.backends.mkldnn.matmul.fp32_precision = "none"

    def _train(self, batch: Batch, lr: float) -> Tensor:
        device = batch.inputs.device.type
        with torch.autocast(device, self.dtype, enabled=self.dtype == torch.bfloat16):
            losses = self.training_step(batch, 0, 1)["main"]
        for group in self.spec.optimizer.param_groups:
            group["lr"] = lr
        self.spec.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(list(self.spec.parameters), self.spec.clip_norm)
        self.spec.optimizer.step()
        return (losses["reconstruction"] + losses["gather"]).detach()


def onednn_is_float32() -> bool:
    """Whether oneDNN's matrix products keep float32 accuracy on this CPU when oneDNN may choose.

    Torch's default library has slower kernels than oneDNN on AMD processors. Torch uses oneDNN only if bfloat16 is
    allowed inside float32 products; if the processor has no matrix unit for that, oneDNN runs its float32 kernels.
    """
    x = torch.randn(512, 512, generator=torch.Generator().manual_seed(0))
    exact = x.double() @ x.double()
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    error = ((x @ x) - exact).abs().max() / exact.abs().max()
    torch.backends.mkldnn.matmul.fp32_precision = "none"
    return error.item() < 1e-5


def build(architecture: str, size: int, device: torch.device, dtype: torch.dtype = torch.float32) -> AnyAd:
    """Build AnyAD with the published alignment on a random encoder in which every block has an effect."""
    weights = resolve("random", {"published": architecture})
    params = ANYAD_INTENDED.resolve("paper", {"image_size": size})
    method = ANYAD_INTENDED.build(Context(params, SEQUENCES, (size, size), weights, device=device))
    with torch.no_grad():
        for name, value in method.network.encoder.named_parameters():
            if name.endswith("gamma"):
                value.fill_(1.0)
    return method.to(device, dtype).train()


def batch_of(step: int, count: int, size: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Batch:
    """Return slices that roughly look like a head, the same for both sides."""
    generator = torch.Generator().manual_seed(step)
    coarse = torch.rand(count, 3, 12, 12, generator=generator)
    targets = F.interpolate(coarse, size, mode="bicubic").clamp(0, 1)
    axis = torch.linspace(-1, 1, size)
    targets = (targets * (axis[:, None] ** 2 + axis[None, :] ** 2 < 0.7)).to(dtype)
    shown = torch.rand(count, 3, generator=generator) < 0.6
    shown[:, 0] |= ~shown.any(1)
    return Batch(targets * shown[:, :, None, None], shown, targets, torch.ones_like(shown)).to(device)


def timed(step: Callable[[Batch, float], float | Tensor], batch: Batch, lr: float) -> tuple[float, float | Tensor]:
    """Return the seconds that one step takes, and its loss."""
    wait = torch.cuda.synchronize if batch.inputs.is_cuda else (lambda: None)
    wait()
    start = time.perf_counter()
    loss = step(batch, lr)
    wait()
    return time.perf_counter() - start, loss


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--architecture", help="timm name of the encoder")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--steps", type=int, help="steps of each side; the first three are not timed")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, help="ours in bfloat16 autocast (CUDA: on)")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, help="ours compiled, as with run --compile (CUDA: on)"
    )
    parser.add_argument(
        "--onednn", action=argparse.BooleanOptionalAction, help="ours on oneDNN if it keeps float32 here"
    )
    parser.add_argument("--double", action="store_true", help="both in float64, to compare the curves without rounding")
    parser.add_argument("--no-flush", action="store_true", help="keep subnormal floats")
    return parser.parse_args()


def main() -> None:
    """Run both sides and print times, ratio and the distance of the loss curves."""
    args = options()
    torch.set_flush_denormal(not args.no_flush)
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    gpu = device.type == "cuda"
    architecture = args.architecture or f"vit_{'base' if gpu else 'small'}_patch14_reg4_dinov2.lvd142m"
    size, count = args.image_size or (392 if gpu else 224), args.batch_size or (16 if gpu else 4)
    steps = args.steps or (60 if gpu else 15)
    compiled = gpu if args.compile is None else args.compile
    half = not args.double and (gpu if args.bf16 is None else args.bf16)
    base = torch.float64 if args.double else torch.float32
    torch.manual_seed(0)
    method = build(architecture, size, device, base)
    onednn = not gpu and args.onednn is not False and onednn_is_float32()
    dtype = torch.bfloat16 if half else base
    plain, ours = PlainStep(method), OurStep(method, dtype, compiled=compiled, onednn=onednn)
    print(f"{device.type}, {architecture}, {size} px, batch {count}, {args.threads} CPU threads")
    print(f"ours: {dtype}, compiled {compiled}, oneDNN products {onednn}; both: subnormals flushed {not args.no_flush}")
    times: list[tuple[float, float]] = []
    curve: list[tuple[float, float]] = []
    for step in range(steps):
        batch, lr = batch_of(step, count, size, device, base), 1e-3 * min(step / 10, 1.0)
        (slow, reference), (fast, value) = timed(plain, batch, lr), timed(ours, batch, lr)
        curve.append((float(reference), float(value)))
        if step >= 3:
            times.append((slow, fast))
    report(times, curve, GOALS.get(device.type))


def report(times: list[tuple[float, float]], curve: list[tuple[float, float]], goal: float | None) -> None:
    """Print the outcome."""
    slow, fast = (statistics.median(side) for side in zip(*times, strict=True))
    ratios = sorted(a / b for a, b in times)
    print(f"plain {slow * 1e3:.0f} ms, ours {fast * 1e3:.0f} ms per step (medians of {len(times)})")
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    goal_text = f", goal {goal:g}" if goal else ""
    print(f"ratio {statistics.median(ratios):.2f} (quartiles {low:.2f} to {high:.2f}){goal_text}")
    print(f"loss: first {curve[0][0]:.6f} / {curve[0][1]:.6f}, last {curve[-1][0]:.6f} / {curve[-1][1]:.6f}")
    print(f"largest relative difference of the curves {max(abs(a - b) / a for a, b in curve):.1e}")


if __name__ == "__main__":
    main()
