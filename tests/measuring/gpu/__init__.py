"""What a call on a GPU takes, beside a bare loop that makes the same copies: `python -m tests.measuring.gpu`."""
