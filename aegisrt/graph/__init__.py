"""Stage 2, what will run where: pure data, no engine."""
