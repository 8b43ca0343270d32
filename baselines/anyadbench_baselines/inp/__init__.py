"""The INP-Former network and its parts (Luo et al., CVPR 2025, arXiv 2503.02424), shared by INP-Former and AnyAD."""
