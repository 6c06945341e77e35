"""What a model file is, found without an engine: readable, whole, its format, its signature."""
