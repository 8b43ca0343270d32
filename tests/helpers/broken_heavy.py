"""A descriptor that imports torch and takes a long time."""

from __future__ import annotations

import torch

from anyadbench.methods.descriptor import MethodDescriptor

assert torch
DESCRIPTOR = MethodDescriptor(name="heavy", title="Heavy", summary="Broken.", factory="broken_methods:DoesNotFit")
