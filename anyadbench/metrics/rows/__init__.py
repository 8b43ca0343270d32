"""Every number of one row of a result, from what its cell stores."""
