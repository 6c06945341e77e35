"""Checks of model files that need no engine: readable, complete, format, signature."""
