"""Engine files made from models: built once, kept by content, verified before an engine sees them."""
