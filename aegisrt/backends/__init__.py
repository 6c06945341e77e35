"""Stage 4: a file or folder for each engine, over one base class that implements the contract."""
