"""Computations that never run in half precision, whatever the harness's policy."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

Inputs = ParamSpec("Inputs")
Output = TypeVar("Output")


def full_precision(function: Callable[Inputs, Output]) -> Callable[Inputs, Output]:
    """Return the function with autocast off on the device of its first tensor.

    Otherwise products would be rounded to half precision, in which distances cancel.
    """

    @wraps(function)
    def exact(*args: Inputs.args, **kwargs: Inputs.kwargs) -> Output:
        device = next(value.device.type for value in args if isinstance(value, Tensor))
        with torch.autocast(device, enabled=False):
            return function(*args, **kwargs)

    return exact
