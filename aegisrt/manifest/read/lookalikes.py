"""`lookalike`: a character that looks like one of YAML's or of an override's grammar, and is another."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

_LOOKALIKES = {
    "\u00a0": ("non-breaking space", " "),
    "\uff1a": ("full-width colon", ":"),
    "\ufe55": ("small colon", ":"),
    "\u2236": ("ratio sign", ":"),
    "\uff1d": ("full-width equals sign", "="),
    "\uff0c": ("full-width comma", ","),
    "\uff0e": ("full-width full stop", "."),
    "\uff5b": ("full-width bracket", "{"),
    "\uff5d": ("full-width bracket", "}"),
    "\uff3b": ("full-width bracket", "["),
    "\uff3d": ("full-width bracket", "]"),
    "\u201c": ("curly quote", '"'),
    "\u201d": ("curly quote", '"'),
    "\u201e": ("curly quote", '"'),
    "\u2018": ("curly quote", "'"),
    "\u2019": ("curly quote", "'"),
    "\u2010": ("hyphen", "-"),
    "\u2011": ("non-breaking hyphen", "-"),
    "\u2013": ("en dash", "-"),
    "\u2014": ("em dash", "-"),
    "\u2212": ("minus sign", "-"),
    "\u200b": ("zero-width space", " "),
}


@dataclass(frozen=True, slots=True)
class Lookalike:
    """A character in a text, and the one that it looks like."""

    index: int
    name: str
    """Its name and code point: `a full-width colon (U+FF1A)`."""
    meant: str

    @property
    def message(self) -> str:
        """Return a message: `this is a full-width colon (U+FF1A), not `:``."""
        article = "an" if self.name[0] in "aeiou" else "a"
        return f"this is {article} {self.name}, not {'a blank' if self.meant == ' ' else f'`{self.meant}`'}"

    @property
    def hint(self) -> str:
        """Return the fix."""
        ordinary = "an ordinary blank" if self.meant == " " else f"an ordinary `{self.meant}`"
        return f"write {ordinary}, or put the text in quotes if the character is meant"


def lookalike(text: str) -> Lookalike | None:
    """Return the first lookalike outside of quotes and comments, or None."""
    quote = ""
    for index, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"" and (index == 0 or not text[index - 1].isalnum()):
            quote = char
        elif char == "#" and (index == 0 or text[index - 1].isspace()):
            return None
        elif found := _found(char, index):
            return found
    return None


def odd_blank(text: str) -> Lookalike | None:
    """Return the blank other than U+0020 that a text starts or ends with, or None."""
    for index in (0, len(text) - 1) if text else ():
        if found := _found(text[index], index):
            return found if found.meant == " " else None
    return None


def _found(char: str, index: int) -> Lookalike | None:
    if char.isascii():
        return None
    name, meant = _LOOKALIKES.get(char, ("", ""))
    if not name and unicodedata.category(char) == "Zs":
        name, meant = unicodedata.name(char).lower(), " "
    return Lookalike(index, f"{name} (U+{ord(char):04X})", meant) if name else None
