"""Counting scores, at once or beside the next call of the network."""
