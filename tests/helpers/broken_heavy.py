"""A descriptor that imports torch, and takes its time."""

from __future__ import annotations

import torch

from anyadbench.methods.descriptor import MethodDescriptor

assert torch
DESCRIPTOR = MethodDescriptor(name="heavy", title="Heavy", summary="Broken.", factory="broken_methods:DoesNotFit")
