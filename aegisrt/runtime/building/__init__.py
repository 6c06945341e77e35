"""From a graph to loaded backends."""
