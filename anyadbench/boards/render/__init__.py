"""A board as HTML, CSV, Markdown and terminal tables."""
