"""Every number of a result's row, from the data stored in its cell."""
