"""A prediction as a page that can be looked through, and a batch as a page that lists its patients."""
