"""Report files for CI systems; imports nothing of AegisRT."""
