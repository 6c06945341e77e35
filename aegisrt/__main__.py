"""`python -m aegisrt`."""

from aegisrt.cli.main import entry

if __name__ == "__main__":
    entry()
