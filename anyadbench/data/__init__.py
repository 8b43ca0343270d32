"""Reading volumes, data-set layouts, verification, the slice store, and splits."""
