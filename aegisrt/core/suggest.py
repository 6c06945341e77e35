"""`nearest`: the known word that a mistyped one was meant to be; and names as messages show them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from itertools import islice

_UNSEEN = re.compile(r"[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""Characters that a terminal executes or hides, and that a writer of JSON or YAML leaves as they are."""
_COMMAND = re.compile(r"^(\s*):(?=:)|#(?=#\w*\[)")
"""The start of a command of a CI system, which executes it wherever a log has it.

GitHub Actions: `::` at the start of a line, and `##[` anywhere in it (ActionCommand.cs of
https://github.com/actions/runner). Azure Pipelines: `##vso[`."""
_COMMAND_IN_DOCUMENT = re.compile(r"#(?=#\w*\[)")
_MOST_LISTED = 50
_MOST_COMPARED = 300
"""How many known words, and how many characters of a word, are compared: the time grows with both."""
_CUTOFF = 0.6
_CUTOFF_SHORT = 0.75


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word nearest to `word`, or None if nothing is near; case does not count.

    A word that starts with a known one counts as near (`onnxruntime` and `onnx`), and one of the same letters (`evn`
    and `env`).
    """
    by_folded = {name.casefold(): name for name in islice(known, _MOST_COMPARED) if len(name) <= _MOST_COMPARED}
    folded = word[:_MOST_COMPARED].casefold()
    likely = [name for name in by_folded if _similar_length(folded, name)]
    near = difflib.get_close_matches(folded, likely, n=1, cutoff=_CUTOFF if len(word) > 3 else _CUTOFF_SHORT)
    if not near:
        letters = sorted(folded)
        near = [name for name in by_folded if len(name) > 2 and (folded.startswith(name) or sorted(name) == letters)]
    return by_folded[near[0]] if near else None


def _similar_length(word: str, name: str) -> bool:
    """Return False if a typo cannot turn one into the other: `name` resembles `on_damage`, and is too short.

    A word may lack a whole part of the name (`CUDAProvider` of `CUDAExecutionProvider`), or have one too many.
    """
    short, long = sorted((word, name), key=len)
    if len(long) - len(short) <= max(2, len(word) // 2):
        return True
    return _same_start(short, long) + _same_start(short[::-1], long[::-1]) >= len(short)


def _same_start(short: str, long: str) -> int:
    return next((at for at, char in enumerate(short) if char != long[at]), len(short))


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return the label `did you mean ...?`, or None if nothing is near."""
    return meant(nearest(word, known))


def meant(near: str | None) -> str | None:
    """Return the label `did you mean ...?` for what `nearest` returned."""
    return f"did you mean {quoted(near)}?" if near else None


def suggest(word: str, known: Collection[str], what: str) -> str:
    """Return the hint for a mistyped word: `did you mean ...?`, or all known ones; `what` is their plural noun."""
    return did_you_mean(word, known) or (f"{what} are {listed(known)}" if known else f"there are no {what}")


def quoted(word: object) -> str:
    """Return a key or a name in backticks, without control characters."""
    return f"`{escaped(str(word))}`"


def listed(names: Iterable[object]) -> str:
    """Return the names in backticks, separated by commas; of many, the first ones and their number."""
    every = list(names)
    more = len(every) - _MOST_LISTED
    return ", ".join(map(quoted, every[:_MOST_LISTED])) + (f" and {more} more" if more > 0 else "")


def escaped(text: str) -> str:
    """Return text with unprintable characters as escapes, as Python writes them."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def safe_lines(text: str) -> str:
    """Return lines with control characters escaped, and without commands of a CI system.

    Names and texts from a model, a request or an engine could move a terminal's cursor or set a job's variables.
    """
    return "\n".join(without_commands(escaped(line)) for line in text.split("\n"))


def with_unseen_escaped(document: str) -> str:
    """Return JSON, or YAML in double quotes, with escapes for what a terminal or a CI system executes or hides."""
    return _COMMAND_IN_DOCUMENT.sub(r"\\u0023", _UNSEEN.sub(lambda match: f"\\u{ord(match[0]):04x}", document))


def without_commands(line: str, colon: str = "\\x3a", number_sign: str = "\\x23") -> str:
    """Return a line with replacements for the characters that begin a command of a CI system."""
    return _COMMAND.sub(lambda match: number_sign if match[1] is None else match[1] + colon, line)
