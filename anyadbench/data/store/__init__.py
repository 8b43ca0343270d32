"""The slice store: every canonical axial slice of a data set, compressed and mapped into memory, with tables."""
