"""A fuzzer of everything that AegisRT reads from outside: `python -m tests.measuring.fuzz`."""
