"""`evaluate`: GitHub's expressions, as much of them as the workflow uses; anything else raises `UnknownError`.

https://docs.github.com/en/actions/reference/workflows-and-actions/expressions
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_TOKEN = re.compile(r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<name>[A-Za-z_][\w-]*)|(?P<sign>==|!=|&&|\|\||[!().,]))")
_HOLE = re.compile(r"\$\{\{(.*?)\}\}")
_FREE = ("github", "event")
"""What differs from event to event: there, and there alone, a property that is missing is null."""


class UnknownError(Exception):
    """The expression uses what this evaluator does not know, or what the workflow does not have."""


def substitute(text: str, contexts: Mapping[str, Any]) -> Any:
    """Return a text with each `${{ }}` evaluated; where it is one expression and nothing else, its value as it is."""
    if whole := re.fullmatch(r"\$\{\{((?:(?!\}\}).)*)\}\}", text.strip()):
        return evaluate(whole[1], contexts)
    return _HOLE.sub(lambda hole: as_text(evaluate(hole[1], contexts)), text)


def evaluate(expression: str, contexts: Mapping[str, Any]) -> Any:
    """Return the value of an expression."""
    parser = _Parser(_tokens(expression), contexts)
    value = parser.either()
    if parser.tokens:
        raise UnknownError(f"{expression}: what follows is not understood: {parser.tokens}")
    return value


def as_text(value: Any) -> str:
    """Return a value as GitHub puts it into a text."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, str | int):
        return "" if value is None else str(value)
    raise UnknownError(f"GitHub would write `Array` or `Object` for {value!r}")


def _tokens(expression: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while at < len(expression.rstrip()):
        token = _TOKEN.match(expression, at)
        if token is None:
            raise UnknownError(f"{expression}: `{expression[at:]}` is not understood")
        found.append((str(token.lastgroup), token[str(token.lastgroup)]))
        at = token.end()
    return found


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]], contexts: Mapping[str, Any]) -> None:
        self.tokens = tokens
        self.contexts = contexts

    def either(self) -> Any:
        value = self.both()
        while self.takes("||"):
            other = self.both()
            value = value or other
        return value

    def both(self) -> Any:
        value = self.equal()
        while self.takes("&&"):
            other = self.equal()
            value = value and other
        return value

    def equal(self) -> Any:
        value = self.negated()
        for sign, wanted in (("==", True), ("!=", False)):
            if self.takes(sign):
                return _same(value, self.negated()) is wanted
        return value

    def negated(self) -> Any:
        return not self.negated() if self.takes("!") else self.value()

    def value(self) -> Any:
        kind, word = self.tokens.pop(0) if self.tokens else ("end", "")
        if kind == "text":
            return word[1:-1].replace("''", "'")
        if word == "(":
            return self.closed(self.either())
        if kind != "name":
            raise UnknownError(f"`{word}` stands where a value is expected")
        return self.call(word) if self.takes("(") else self.property_of(word)

    def call(self, name: str) -> Any:
        arguments = []
        while not self.takes(")"):
            arguments.append(self.either())
            if not self.takes(","):
                return _function(name)(*self.closed(arguments))
        return _function(name)(*arguments)

    def property_of(self, name: str) -> Any:
        if name not in self.contexts:
            raise UnknownError(f"there is no context `{name}` here")
        value, path = self.contexts[name], [name]
        while self.takes("."):
            path.append(self.tokens.pop(0)[1])
            may_be_missing = tuple(path[:2]) == _FREE
            if not may_be_missing and path[-1] not in value:
                raise UnknownError(f"there is no `{'.'.join(path)}`")
            value = (value or {}).get(path[-1])
        return value

    def closed(self, value: Any) -> Any:
        if not self.takes(")"):
            raise UnknownError("a `)` is missing")
        return value

    def takes(self, sign: str) -> bool:
        """Return whether the next token is `sign`, and take it."""
        if self.tokens[:1] == [("sign", sign)]:
            del self.tokens[0]
            return True
        return False


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.casefold() == other.casefold()
    if type(one) is type(other):
        return bool(one == other)
    raise UnknownError(f"GitHub compares {one!r} with {other!r} as numbers")


def _format(text: str, *values: Any) -> str:
    return re.sub(r"\{(\d+)\}", lambda hole: as_text(values[int(hole[1])]), text)


def _join(values: list[Any], between: str) -> str:
    return between.join(map(as_text, values))


_FUNCTIONS = {"format": _format, "join": _join, "fromJSON": json.loads, "always": lambda: True}


def _function(name: str) -> Any:
    if name not in _FUNCTIONS:
        raise UnknownError(f"there is no function `{name}` here")
    return _FUNCTIONS[name]
