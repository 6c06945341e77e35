"""Inputs from files, outputs to files, and outputs for a person."""
