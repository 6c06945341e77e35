"""Diagnostics to text, GitHub annotations and JSON."""
