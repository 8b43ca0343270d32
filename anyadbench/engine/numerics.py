"""The numeric policy of a cell: device type, precision, determinism and CPU threads."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyadbench.errors import UserError

if TYPE_CHECKING:
    import torch

FLOAT32_PRODUCT_ERROR = 1e-5
"""Largest relative error at which a matrix product counts as float32; bfloat16's is about 1e-3."""

PRECISIONS = ("auto", "float32", "tf32", "bfloat16", "float16")


class NotFinite(Exception):
    """A method produced NaN or infinity."""


@dataclass(frozen=True)
class Policy:
    """Numeric settings; on one type of machine, byte-identical results are promised for one policy.

    Attributes:
        device: ``cpu`` or ``cuda``.
        dtype: Autocast type of training and scoring; parameters stay float32.
        tf32: Whether float32 matrix products may use TF32.
        deterministic: Whether only deterministic algorithms are allowed.
        threads: CPU threads.
        compile: Whether training steps and scoring go through ``torch.compile``.
        blocks: Whether transformer blocks are compiled one by one in the captured steps of a long training.
    """

    device: str = "cpu"
    dtype: str = "float32"
    tf32: bool = False
    deterministic: bool = False
    threads: int = 2
    compile: bool = False
    blocks: bool = False

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda") or self.dtype not in ("float32", "bfloat16", "float16"):
            raise TypeError(f"a numeric policy cannot have device {self.device!r} and dtype {self.dtype!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values; ``blocks`` only if it is set, so that ids without it stay as they were."""
        plain = asdict(self)
        if not self.blocks:
            del plain["blocks"]
        return plain

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the autocast context of this policy; a null context for float32."""
        if self.dtype == "float32":
            return nullcontext()
        import torch

        context: AbstractContextManager[Any] = torch.autocast(self.device, dtype=getattr(torch, self.dtype))
        return context

    def torch_device(self) -> torch.device:
        """Return the device as torch knows it."""
        import torch

        return torch.device(self.device)


def resolve_policy(
    device: str,
    precision: str,
    deterministic: bool,
    threads: int,
    *,
    compile: bool | None = None,
    elsewhere: bool = False,
) -> Policy:
    """Turn the command line's options into a policy for this machine.

    ``auto`` precision is bfloat16 on GPUs that compute in it and float32 elsewhere, also where it is emulated.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: One of ``PRECISIONS``.
        deterministic: Whether only deterministic algorithms are allowed.
        threads: CPU threads of a cell.
        compile: Whether to use ``torch.compile``; ``None`` compiles transformer blocks on a GPU, one by one, unless
            only deterministic algorithms are allowed.
        elsewhere: Whether cells run on other machines, which cannot be queried; ``auto`` is then refused wherever it
            depends on the device.

    Raises:
        UserError: If the device is missing or does not support the precision.
    """
    if elsewhere and device == "auto":
        raise UserError("--device auto checks this machine, but the cells run on others; give --device cpu or cuda.")
    if elsewhere and device == "cuda" and precision == "auto":
        raise UserError("--precision auto checks this machine's GPU, but the cells run on others; give --precision.")
    has_cuda = device == "cuda" if elsewhere else device in ("auto", "cuda") and _cuda_available()
    if device == "cuda" and not has_cuda:
        raise UserError("--device cuda: torch finds no CUDA device here; use --device cpu, or see 'anyadbench doctor'.")
    kind = "cuda" if has_cuda else "cpu"
    if precision == "auto":
        precision = "bfloat16" if kind == "cuda" and _has_bfloat16() else "float32"
    if precision == "float16" and kind == "cpu":
        raise UserError("--precision float16 needs a GPU; use --precision float32 or bfloat16 on the CPU.")
    tf32 = precision == "tf32"
    if tf32 and kind == "cpu":
        raise UserError("--precision tf32 needs a GPU; use --precision float32 or bfloat16 on the CPU.")
    blocks = compile is None and kind == "cuda" and not deterministic
    return Policy(kind, "float32" if tf32 else precision, tf32, deterministic, threads, bool(compile), blocks)


def _cuda_available() -> bool:
    # Importing torch takes seconds, so it is imported only where a driver is installed at all.
    if not any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")) and os.name == "posix":
        return False
    import torch

    return torch.cuda.is_available()


def _has_bfloat16() -> bool:
    import torch

    return torch.cuda.is_bf16_supported(including_emulation=False)


def apply_policy(policy: Policy) -> None:
    """Set up this process; call it before any other use of torch.

    Subnormal floats are flushed to zero: on CPU they slow this kind of training by an order of magnitude. Worker
    threads inherit the setting from the thread that starts them, so it must be made before the first parallel region.

    Raises:
        UserError: If the device is missing.
    """
    import torch

    if policy.device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "The cell was planned for a GPU, but torch finds none on this machine; run it on a machine with a GPU."
        )
    torch.set_flush_denormal(True)
    torch.set_num_threads(policy.threads)
    if policy.device == "cpu" and policy.dtype == "float32":
        prefer_fast_products()
    torch.backends.cuda.matmul.allow_tf32 = policy.tf32
    torch.backends.cudnn.allow_tf32 = policy.tf32
    torch.backends.cudnn.benchmark = policy.device == "cuda" and not policy.deterministic
    if policy.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def numerics_record(policy: Policy, compiled: str) -> dict[str, Any]:
    """Return the policy as results record it: the settings requested, and what this machine used.

    Which library computes the CPU's float32 products is a property of the machine, like its choice of kernels: all
    are float32 and differ in the last bits. It is recorded but not hashed, so that a cell that is planned on one
    machine and run on another keeps its id.

    Args:
        policy: The policy of the cell.
        compiled: Outcome of compiling: ``off``, ``blocks``, ``on`` or ``fell back``.
    """
    products = {"products": "oneDNN" if fast_products() else "default"} if policy.device == "cpu" else {}
    settings = {name: value for name, value in policy.to_dict().items() if name != "blocks"}
    return {**settings, "compile": compiled, **products}


def prefer_fast_products() -> bool:
    """Use oneDNN for float32 matrix products on the CPU where it keeps float32 accuracy; return whether it is used.

    Torch's default library runs at less than half of oneDNN's speed on AMD processors. Torch uses oneDNN only if
    bfloat16 is allowed inside float32 products; on processors without a matrix unit for it oneDNN then runs its float32
    kernels. A trial product shows whether this is such a processor.
    """
    import torch

    settings = getattr(torch.backends.mkldnn, "matmul", None)
    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if settings is None or not available:
        return False
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    x = torch.randn(256, 384, generator=torch.Generator().manual_seed(0))
    exact = x.double() @ x.double().T
    error = float(((x @ x.T) - exact).abs().max() / exact.abs().max())
    if error > FLOAT32_PRODUCT_ERROR:
        settings.fp32_precision = before
        return False
    return True


def fast_products() -> bool:
    """Return whether this process computes float32 matrix products with oneDNN."""
    import torch

    settings = getattr(torch.backends.mkldnn, "matmul", None)
    return settings is not None and settings.fp32_precision == "bf16"


def derive_seed(seed: int, method: str) -> int:
    """Return the 63-bit seed of a cell; it depends on the run seed and the method's name only."""
    import hashlib

    return int.from_bytes(hashlib.sha256(f"{seed}:{method}".encode()).digest()[:8], "big") >> 1


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch; call it before a method is built."""
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
