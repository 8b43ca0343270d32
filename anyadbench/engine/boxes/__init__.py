"""Boxes of test slices on the scoring grid, and what maps draw beside them."""
