"""The curve of a metric against the number of training subjects, from several protocols."""
