"""One unit of work: what identifies it, its folder, its fit, its scores and its manifest."""
