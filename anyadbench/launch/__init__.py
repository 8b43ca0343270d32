"""From a request to running cells: plans, processes, launchers, progress, and what a run will cost."""
