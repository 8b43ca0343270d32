"""Intervals, paired tests and tie groups, all from values with one subject left out (the jackknife).

Nothing here draws a random number: equal statistics give equal intervals, p-values and groups. How each method was
chosen is documented in ``docs/statistics.md``.
"""
