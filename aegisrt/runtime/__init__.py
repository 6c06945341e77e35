"""Stage 3, running instances."""
