"""Descriptors of the published methods; importing this package imports neither torch nor a method."""
