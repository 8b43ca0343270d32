"""Comparisons of rows from two boards."""
