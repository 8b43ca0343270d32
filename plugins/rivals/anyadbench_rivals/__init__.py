"""Rivals of AnyAD outside its comparison table, built on ``anyadbench.api`` alone."""
