"""The numbers of a board: rows, seeds, ranks, intervals, flags, comparisons."""
