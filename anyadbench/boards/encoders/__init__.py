"""Boards by encoder: which pretrained network each method started from."""
