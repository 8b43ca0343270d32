"""The readers of the built-in layouts; what needs NumPy is imported when a scan is read."""
