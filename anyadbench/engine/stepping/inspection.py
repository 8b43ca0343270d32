"""What in a training step a CUDA graph would repeat wrongly: everything that the host decides at each step.

A graph repeats kernels on fixed addresses. Whatever Python computes is fixed when the step is captured: the number of
the step, random numbers drawn on the host, values read back from the device, a tensor that replaces another, a counter.
Steps are therefore watched before one is captured. A Python object that is changed in place without a change of its
length is not noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from anyadbench.engine.stepping.generators import Generators

if TYPE_CHECKING:
    from anyadbench.methods.contract import Method

Value = TypeVar("Value")

_READ_BACK = frozenset(
    f"aten::{name}"
    for name in (
        *("_local_scalar_dense", "item", "equal", "allclose", "is_nonzero", "nonzero", "masked_select", "histc"),
        *("_unique", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive", "bincount"),
        *("multinomial", "_linalg_check_errors", "_linalg_eigh", "_linalg_svd", "linalg_eig", "linalg_lstsq"),
    )
)
_INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index")
_COPIES = ("aten::_to_copy", "aten::copy_", "aten::lift_fresh")
_INNER = ("_parameters", "_buffers", "_modules", "training")


class Watched(int):
    """A whole number that notes when it is computed with, compared or printed."""

    used: bool


def _watch(name: str) -> Callable[..., Any]:
    plain = getattr(int, name)

    def method(self: Watched, *arguments: Any) -> Any:
        self.used = True
        return plain(self, *arguments)

    return method


for _name in (
    *("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "floordiv", "rfloordiv", "mod", "rmod"),
    *("divmod", "rdivmod", "pow", "rpow", "lt", "le", "gt", "ge", "eq", "ne", "neg", "abs", "int", "float", "index"),
    *("bool", "hash", "and", "rand", "or", "ror", "xor", "lshift", "rshift", "round", "format", "str", "repr"),
):
    setattr(Watched, f"__{_name}__", _watch(f"__{_name}__"))


def watched(value: int) -> Watched:
    """Return a watched number that has not been used."""
    made = Watched(value)
    made.used = False
    return made


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes operations that read a value back to the host, or copy from the host.

    Those inside another operation's kernel are not seen; on a GPU, torch finds them (``StepGraph``).
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reasons: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if name in _READ_BACK or _counts_on_the_host(name, args, kwargs or {}):
            self.reasons.append(f"it reads a value back from the device ({name.partition('::')[2]})")
        out = func(*args, **(kwargs or {}))
        if name in _COPIES:
            kinds = {value.device.type for value in (*args, out) if isinstance(value, Tensor)}
            # torch.tensor() has copied its value already, and gives no other sign of that.
            if len(kinds | {"cpu"} if name == "aten::lift_fresh" else kinds) > 1:
                self.reasons.append("it copies between host and device")
        return out


def _counts_on_the_host(name: str, args: Any, kwargs: Any) -> bool:
    """Whether the shape or the reach of an operation depends on values: indices by mask, repeats without a sum."""
    if name == "aten::repeat_interleave":
        return isinstance(args[0], Tensor) and kwargs.get("output_size") is None
    return name in _INDEXED and any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1])


class Inspection:
    """Watches training steps of a method.

    Args:
        method: The method.
        apart: Whether its device is not the host, whose random numbers a graph would repeat.

    Attributes:
        reasons: Why a graph would go wrong, in words that follow "because"; empty so far.
    """

    def __init__(self, method: Method, *, apart: bool) -> None:
        self._method, self._apart = method, apart
        self._before: dict[str, Any] | None = None
        self.reasons: list[str] = []

    def watch(self, call: Callable[[Watched, Watched], Value], step: int, total: int) -> Value:
        """Run a step and note what speaks against capturing it; the first step may set things up."""
        numbers, generators = (watched(step), watched(total)), Generators()
        with _Operations() as operations:
            value = call(*numbers)
        if any(number.used for number in numbers):
            self.reasons.append("it depends on the number of the step")
        if self._apart and not generators.host_equals(Generators()):
            self.reasons.append("it draws random numbers on the host")
        after = _fingerprint(self._method)
        if self._before is not None:
            self.reasons += operations.reasons[:1]
            changed = sorted(name for name, found in after.items() if self._before.get(name) != found)
            if changed:
                self.reasons.append(f"it changes {changed[0]} of the method")
        self._before = after
        return value


def _fingerprint(method: nn.Module) -> dict[str, Any]:
    """Return what a step must leave as it is: addresses of tensors, plain values, and lengths of everything else."""
    found: dict[str, Any] = {}
    for prefix, part in method.named_modules():
        for name, value in part.__dict__.items():
            if name in _INNER:
                continue
            found[f"{prefix}.{name}".lstrip(".")] = _mark(value)
        for name, tensor in (*part._buffers.items(), *part._parameters.items()):
            found[f"{prefix}.{name}".lstrip(".")] = None if tensor is None else tensor.data_ptr()
    return found


def _mark(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.data_ptr()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return (id(value), len(value)) if isinstance(value, Sized) and not isinstance(value, nn.Module) else id(value)
