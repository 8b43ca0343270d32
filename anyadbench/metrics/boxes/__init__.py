"""Numbers for data sets whose labels are boxes: detections from anomaly maps, hit rate, FROC and AP."""
