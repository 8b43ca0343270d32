"""Benchmark suite for any-modality anomaly detection in multi-sequence brain MRI."""

from __future__ import annotations

__version__ = "0.1.0"
