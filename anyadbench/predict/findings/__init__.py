"""What a prediction finds inside the brain: clusters, percentiles among normal scans, reference ranges."""
