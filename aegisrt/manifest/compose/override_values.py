"""`value_error` and `grammar_fault`: why a grammar refuses the value of an override, or an interpolation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from aegisrt.core.suggest import quoted
from aegisrt.manifest.read.limits import deep_bracket
from aegisrt.manifest.read.yaml_causes import placeholder

_OPENING = {"]": "[", "}": "{", ")": "("}
_QUOTED_KEY = re.compile(r"""\s*((['"])(?:\\.|(?!\2).)*\2)\s*:""")


def escaped_key(key: str) -> str:
    """Return a key as the mapping of an override takes it: without quotes, its special characters escaped."""
    return re.sub(r"([\\()\[\]{}:=, \t'\"])", r"\\\1", key)


@dataclass(frozen=True, slots=True)
class ValueFault:
    """A part of an override's text, and what is wrong with it."""

    start: int
    stop: int
    message: str
    hint: str | None = None


@dataclass(slots=True)
class _Bracket:
    char: str
    index: int
    entry: int
    """The index where its current entry starts."""
    has_colon: bool = False


@dataclass(slots=True)
class _ValueScan:
    text: str
    opened: list[_Bracket] = field(default_factory=list)

    def run(self, index: int) -> ValueFault | None:
        """Return the first error from `index` on."""
        while index < len(self.text):
            char = self.text[index]
            if char in "'\"":
                index = self._after_quote(index)
                if index < len(self.text) and self.text[index] not in ",]}): \t":
                    return ValueFault(index, index + 1, "there is text after a closed quote")
                continue
            found = self._at(char, index)
            if found:
                return found
            index += 2 if char == "\\" else 1
        return None

    def _after_quote(self, index: int) -> int:
        quote = self.text[index]
        index += 1
        while index < len(self.text) and self.text[index] != quote:
            index += 2 if self.text[index] == "\\" else 1
        return index + 1

    def _at(self, char: str, index: int) -> ValueFault | None:
        inside = self.opened[-1] if self.opened else None
        if char in "[{(":
            return self._open(char, index)
        if char in "]})":
            if inside is None or inside.char != _OPENING[char]:
                return ValueFault(index, index + 1, f"this `{char}` has no opening bracket")
            found = self._entry(index)
            self.opened.pop()
            return found
        if char == "," and inside is not None:
            return self._entry(index, before_comma=True) or self._next(inside, index)
        if char == ":" and inside is not None and inside.char == "{":
            inside.has_colon = True
        if char == "=" and inside is None:
            return ValueFault(index, index + 1, "a value with `=` in it needs quotes")
        return None

    def _open(self, char: str, index: int) -> ValueFault | None:
        before = self.text[index - 1]
        if char == "(" and not (before.isalnum() or before == "_"):
            return ValueFault(index, index + 1, "a value with `(` in it needs quotes")
        if char == "{" and before == "$" and "}" not in self.text[index:]:
            return ValueFault(index - 1, index + 1, "this `${` is never closed", "close it with `}`")
        self.opened.append(_Bracket(char, index, index + 1))
        return self._quoted_key(index + 1) if char == "{" and before != "$" else None

    def _quoted_key(self, index: int) -> ValueFault | None:
        found = _QUOTED_KEY.match(self.text, index)
        if found is None:
            return None
        key = found[1][1:-1]
        plain = escaped_key(key)
        message = "a key in the mapping of an override has no quotes"
        return ValueFault(found.start(1), found.end(1), message, f"write `{plain}: ...`")

    def _next(self, inside: _Bracket, index: int) -> ValueFault | None:
        inside.entry, inside.has_colon = index + 1, False
        return self._quoted_key(index + 1) if inside.char == "{" else None

    def _entry(self, stop: int, *, before_comma: bool = False) -> ValueFault | None:
        """Return the error of the entry that ends at `stop`."""
        inside = self.opened[-1]
        written = self.text[inside.entry : stop]
        start = inside.entry + len(written) - len(written.lstrip())
        is_first = inside.entry == inside.index + 1
        if self.text[inside.index - 1 : inside.index] == "$":
            return None
        if not written.strip():
            is_missing = before_comma or not is_first
            return ValueFault(stop, stop + 1, "a value is missing before this") if is_missing else None
        if inside.char == "{" and not inside.has_colon:
            message = f"`{written.strip()}` has no `:` after it"
            return ValueFault(start, start + len(written.strip()), message, "write `{key: value}`")
        if inside.char == "{" and written.rstrip().endswith(":"):
            return ValueFault(stop, stop + 1, "a value is missing before this")
        return None


def value_error(text: str, start: int, column: int, message: str) -> ValueFault:
    """Return what is wrong with the value that starts at `start`; Hydra's parser failed at `column` with `message`."""
    unknown = message.removeprefix("token recognition error at: ")
    if unknown != message:
        char = unknown[1:2]
        worded = "a quote is not closed" if char in "'\"" else f"`{char}` needs quotes"
        return ValueFault(column, column + 1, worded)
    if function := re.search(r"Unknown function '(\w+)'", message):
        place = text.find(f"{function[1]}(", start)
        worded = f"`{function[1]}(...)` is not a function"
        return ValueFault(max(place, start), max(place, start) + len(function[1]), worded)
    scan = _ValueScan(text)
    found = scan.run(start)
    if found is not None:
        return found
    if column >= len(text.rstrip()):
        opened = scan.opened[-1] if scan.opened else None
        hint = f"close the `{opened.char}` of column {opened.index + 1}" if opened else None
        return ValueFault(column, column, "the value ends too early", hint)
    return ValueFault(column, column + 1, f"`{text[column]}` cannot be here")


def grammar_fault(text: str) -> str:
    """Return why OmegaConf's grammar refuses a text with interpolations."""
    if not text.strip():
        return "it is empty"
    if template := placeholder(text):
        return f"{quoted(template)} is a template's placeholder"
    if re.search(r"\$\{\s*\}", text):
        return "`${}` names nothing"
    if deep_bracket(text) is None and _unclosed(text):
        return f"`{_unclosed(text)}` is never closed"
    if text.count("'") % 2 or text.count('"') % 2:
        return "a quote is not closed"
    return "OmegaConf's grammar does not have this form"


def _unclosed(text: str) -> str | None:
    """Return the innermost bracket that is still open at the end of a text, or None."""
    opened: list[str] = []
    for found in re.finditer(r"\$\{|[\[{(]|[\]})]", text):
        if found[0] in ")]}":
            if opened:
                opened.pop()
        else:
            opened.append(found[0])
    return opened[-1] if opened else None
