"""The slice store: every canonical axial slice of a data set in one memory-mapped array, with its tables."""
