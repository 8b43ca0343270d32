"""Metrics of anomaly maps: pixels, regions and slices. Any change here changes the ids of cells."""
