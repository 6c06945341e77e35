"""`parser_of`: the common options of the committed benchmarks."""

from __future__ import annotations

import argparse


def parser_of(name: str, description: str | None, *, rounds: int, what: str) -> argparse.ArgumentParser:
    """Return the parser of `python -m aegisrt.bench.own.NAME`: `--rounds`, at least 1, and `--json`."""
    parser = argparse.ArgumentParser(prog=f"python -m aegisrt.bench.own.{name}", description=description)
    parser.add_argument(
        "--rounds", type=_at_least_one, default=rounds, help=f"how often each {what} is timed (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    return parser


def _at_least_one(text: str) -> int:
    return max(1, int(text))
