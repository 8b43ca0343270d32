"""What a plugin's author tests with.

Importing this package imports neither torch nor numpy; ``check_method`` starts processes of its own for both.
"""

from __future__ import annotations

from anyadbench.testing.conformance.kit import check_method
from anyadbench.testing.conformance.model import CHECKS, Check, Finding, Limits, Report

__all__ = ["CHECKS", "Check", "Finding", "Limits", "Report", "check_method"]
