"""The reference models, and how their outputs are compared."""
