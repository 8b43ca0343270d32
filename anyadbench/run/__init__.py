"""Planning, running and storing fits and cells."""
