"""Benchmarks: a model and its bare engine in the same run, and the ratio of the two."""
