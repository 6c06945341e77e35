"""`Composition` to `Manifest`: every error of a manifest at once."""
