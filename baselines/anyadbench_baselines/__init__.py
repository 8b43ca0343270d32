"""The published methods of the comparison table, one or two files each, on shared parts."""
