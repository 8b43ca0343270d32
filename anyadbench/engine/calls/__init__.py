"""How slices reach a network while it scores."""
