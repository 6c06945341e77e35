"""Text to `Tree`: YAML in which every key and value has its position."""
