"""The table of data sets, one module for each family."""
