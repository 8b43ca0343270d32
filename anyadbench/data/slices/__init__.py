"""Which slices count, and the intensity scale on which a method sees them."""
