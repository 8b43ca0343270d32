"""UniTransAD: every sequence of a slice rendered in another style and back again."""
