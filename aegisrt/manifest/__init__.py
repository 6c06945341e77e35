"""Stage 1, what the user declared: compose YAML and overrides, locate every value, validate."""
