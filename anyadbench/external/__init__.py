"""Anomaly maps that another program computed, scored like those of a method."""
