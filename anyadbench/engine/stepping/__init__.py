"""What surrounds a training step: modes, copies of frozen weights, batches read ahead, and CUDA graphs."""
