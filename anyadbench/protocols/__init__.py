"""Protocols: what is trained, what is tested, on which subsets of sequences, and how it is scored."""

from __future__ import annotations

from anyadbench.protocols.model import Protocol, TestSet
from anyadbench.protocols.registry import find_protocol, protocol_files

__all__ = ["Protocol", "TestSet", "find_protocol", "protocol_files"]
