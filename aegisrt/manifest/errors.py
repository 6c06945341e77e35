"""Errors that carry the diagnostics of a manifest."""
