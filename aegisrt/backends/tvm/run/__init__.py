"""Calls of a loaded library, on a CPU or a GPU."""
