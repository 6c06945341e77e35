"""Benchmarks that print a ratio against the bare engine in the same run."""
