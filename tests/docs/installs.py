"""`installs`: the distributions that a text tells its reader to install."""

from __future__ import annotations

import re
from collections.abc import Iterator

_COMMAND = re.compile(r"\bpip3? install((?: +(?:'[^'\n]*'|\"[^\"\n]*\"|[^\s`'\";&|)]+))+)")
_DEPENDENCIES = re.compile(r"^dependencies = \[(.*?)\]", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TAKES_A_VALUE = ("-r", "-c", "-e", "-i", "--index-url", "--extra-index-url", "--target", "--no-binary")


def installs(text: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield each distribution that a `pip install` or a `dependencies = [...]` names, and the extras of it."""
    for command in _COMMAND.findall(text):
        after = ""
        for word in re.findall(r"'[^'\n]*'|\"[^\"\n]*\"|\S+", command):
            if not word.startswith("-") and after not in _TAKES_A_VALUE:
                yield from _requirement(word)
            after = word
    for listed in _DEPENDENCIES.findall(text):
        for word in re.findall(r"\"[^\"\n]+\"", listed):
            yield from _requirement(word)


def _requirement(word: str) -> Iterator[tuple[str, frozenset[str]]]:
    word = word.strip("'\"")
    if found := _NAME.match(word):
        extras = re.match(r"\[([^\]]*)\]", word[found.end() :])
        if word[found.end() : found.end() + 1] not in ("/", "{"):
            yield found[0].lower().replace("_", "-"), frozenset(extras[1].split(",") if extras else ())
