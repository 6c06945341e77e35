"""Memory, streams and discovery of the devices that models run on."""
