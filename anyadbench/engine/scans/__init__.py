"""Scoring of whole scans: every brain slice of a scan, put together as a volume, and reduced to a record."""
