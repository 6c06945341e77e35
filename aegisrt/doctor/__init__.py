"""Diagnoses this machine for running models: each problem with the command that fixes it."""
