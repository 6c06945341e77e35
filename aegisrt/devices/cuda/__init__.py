"""NVIDIA GPUs: contexts, memory, streams, CUDA graphs and arrays."""
