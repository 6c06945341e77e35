"""Stage 4: one file an engine, over one base class that holds the contract."""
