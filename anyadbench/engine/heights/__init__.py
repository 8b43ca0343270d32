"""Normalising slice scores by height in the head and brain area."""
