"""The check of a submission: every number recomputed from what its cells store."""
