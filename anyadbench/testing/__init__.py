"""Tools for testing a plugin.

Importing this package imports neither torch nor numpy; ``check_method`` starts separate processes for both.
"""

from __future__ import annotations

from anyadbench.testing.conformance.kit import check_method
from anyadbench.testing.conformance.model import CHECKS, Check, Finding, Limits, Report

__all__ = ["CHECKS", "Check", "Finding", "Limits", "Report", "check_method"]
