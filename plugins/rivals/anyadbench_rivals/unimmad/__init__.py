"""UniMMAD: features of each sequence decompressed from one general code by a mixture of experts."""
