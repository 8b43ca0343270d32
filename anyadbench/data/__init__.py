"""Data-set layouts, checks of a tree, the slice store, slice selection and the phantom."""
