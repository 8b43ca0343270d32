"""Descriptions of a prepared store: a data card, and metadata in the Croissant format."""
