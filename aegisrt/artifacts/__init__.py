"""Engine files built from models: built once, cached by content, verified before an engine loads them."""
