"""Operators that raise on a GPU under ``--deterministic``, noticed on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

RAISING = frozenset(
    f"aten::{name}"
    for name in (
        *("avg_pool3d_backward", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "histc", "kthvalue"),
        *("adaptive_max_pool2d_backward", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward"),
        *("max_unpool2d", "max_unpool3d", "upsample_linear1d_backward", "upsample_bicubic2d_backward"),
        *("upsample_trilinear3d_backward", "_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward"),
        *("reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward", "nll_loss2d_forward"),
        *("_ctc_loss_backward", "put", "put_", "grid_sampler_2d_backward", "grid_sampler_3d_backward"),
    )
)
"""Those of torch's list; bilinear resizing has a deterministic form, which ``interpolate`` takes on a GPU."""


class _Noticing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, overload = func._schema.name, func._overloadname
        weighted = name == "aten::bincount" and ((kwargs or {}).get("weights") is not None or len(args) > 1)
        with_indices = name in ("aten::median", "aten::nanmedian") and overload.startswith("dim")
        if name in RAISING or weighted or with_indices:
            self.found.add(name)
        return func(*args, **(kwargs or {}))


@contextmanager
def only_deterministic_on_a_gpu() -> Iterator[None]:
    """Fail if an operator inside would raise on a GPU."""
    torch.use_deterministic_algorithms(True)
    try:
        with _Noticing() as noticing:
            yield
    finally:
        torch.use_deterministic_algorithms(False)
    assert not noticing.found
