"""Calls of a loaded engine: execution contexts, memory, CUDA graphs."""
