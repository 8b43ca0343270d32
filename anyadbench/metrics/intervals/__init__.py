"""Intervals and paired tests over subjects."""
