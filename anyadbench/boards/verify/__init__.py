"""The check of a submission: every number is recomputed from the data that its cells store."""
