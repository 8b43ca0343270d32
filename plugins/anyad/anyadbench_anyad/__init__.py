"""AnyAD (arXiv 2512.21264) and its variants on the INP network of the baselines."""
