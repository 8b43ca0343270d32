"""Every image model of anomalib that learns from normal images, as a method ``anomalib:NAME``."""
