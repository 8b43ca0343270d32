"""Controls: untrained rows that no method should lose to, computed by the harness for every protocol."""
