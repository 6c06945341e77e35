"""`parse`: the options that the committed benchmarks have in common."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def parse(
    name: str, description: str | None, arguments: Sequence[str] | None, *, rounds: int, what: str
) -> argparse.Namespace:
    """Return `rounds`, 1 at least and `rounds` by default, and `json`, as `python -m aegisrt.bench.NAME` was told."""
    parser = argparse.ArgumentParser(prog=f"python -m aegisrt.bench.{name}", description=description)
    parser.add_argument(
        "--rounds", type=int, default=rounds, help=f"how often each {what} is timed (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    given = parser.parse_args(arguments)
    given.rounds = max(1, given.rounds)
    return given
