"""The limits of a manifest's size. Levels are checked before anything recurses: PyYAML, Hydra's parser, our code."""

from __future__ import annotations

from aegisrt.core.diagnostic import Diagnostic, Location

MOST_LEVELS = 50
"""How many mappings and lists may be inside each other; Python's own limit of calls is reached at about 250."""
MOST_VALUES = 100_000
"""How many values a file may have once its aliases are expanded, and how many interpolations may make. PyYAML takes two
or three seconds for them."""
TOO_MANY = f"more than {MOST_VALUES} keys and values"
MOST_KEY_CHARACTERS = 1024
"""As in YAML's short form of a key: each diagnostic of a value contains the keys around it."""
TOO_DEEP = f"nested deeper than {MOST_LEVELS} levels"


def too_deep(place: Location, path: str = "") -> Diagnostic:
    """Return the diagnostic of a value, or of a key, with too many levels."""
    return Diagnostic("too-deep", TOO_DEEP, place, path=path, hint="write it with fewer levels")


def deep_bracket(text: str, *, skip_quoted: bool = False) -> int | None:
    """Return the index of the bracket that opens one level too many, or None.

    `skip_quoted` leaves out brackets in quotes; a backslash escapes a quote.
    """
    opened, quote, escaped = 0, "", False
    for index, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif quote:
            quote = "" if char == quote else quote
        elif skip_quoted and char in "'\"":
            quote = char
        elif char in "[{(":
            opened += 1
            if opened > MOST_LEVELS:
                return index
        elif char in ")}]":
            opened = max(0, opened - 1)
    return None
