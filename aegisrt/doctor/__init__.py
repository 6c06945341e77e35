"""What is wrong with this machine for running models, and the command that mends it."""
