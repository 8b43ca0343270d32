"""``python -m anyadbench``."""

from __future__ import annotations

from anyadbench.cli import main

if __name__ == "__main__":
    main()
