"""Trees to `Composition`: groups, environments, overrides and interpolations."""
