"""`isolation: process`: any backend, with each instance in a process of its own."""
