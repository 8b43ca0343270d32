"""Where the repository, its fixtures and its helpers are."""

from pathlib import Path

HELPERS = Path(__file__).parent
ROOT = HELPERS.parent.parent
FIXTURES = HELPERS.parent / "fixtures"
