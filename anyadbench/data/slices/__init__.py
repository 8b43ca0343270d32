"""Which slices count, and on what scale a method sees them."""
