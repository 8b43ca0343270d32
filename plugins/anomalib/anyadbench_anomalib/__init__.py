"""Every image model of anomalib that learns from normal pictures, as a method ``anomalib:NAME``."""
