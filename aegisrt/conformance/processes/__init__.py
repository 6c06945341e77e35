"""The processes in which checks run, so that a crash of an engine costs one check."""
