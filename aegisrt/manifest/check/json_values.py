"""`json_values`: composed values in a form that JSON has, and a diagnostic for each that has none."""

from __future__ import annotations

import math
from typing import Any

from aegisrt.core.suggest import quoted
from aegisrt.manifest.check.locate import Locator, title
from aegisrt.manifest.diagnostics.wording import described, shown
from aegisrt.manifest.origin import KeyPath
from aegisrt.manifest.read.limits import MOST_LEVELS, TOO_DEEP

_MAX_INT_BITS = 512


def json_values(values: dict[str, Any], locator: Locator) -> tuple[dict[str, Any], set[KeyPath]]:
    """Return a copy that `json.dumps` takes, and the paths that were emptied; report each of them.

    Keys that are not text are left out; values that JSON has no form for become null.
    """
    scan = _Scan(locator)
    copied = scan.mapping((), values)
    return copied, scan.emptied


class _Scan:
    def __init__(self, locator: Locator) -> None:
        self.locator = locator
        self.emptied: set[KeyPath] = set()

    def mapping(self, path: KeyPath, values: dict[Any, Any]) -> dict[str, Any]:
        copied = {}
        for key, value in values.items():
            inner = (*path, key)
            if isinstance(key, str) and _encodable(key):
                copied[key] = self.value(inner, value)
            else:
                self._refuse_key(inner, key)
        return copied

    def value(self, path: KeyPath, value: Any) -> Any:
        if len(path) >= MOST_LEVELS and isinstance(value, dict | list | tuple):
            return self._empty(path, "too-deep", TOO_DEEP, "write it with fewer levels")
        match value:
            case None | bool():
                return value
            case dict():
                return self.mapping(path, value)
            case list() | tuple():
                return [self.value((*path, index), item) for index, item in enumerate(value)]
            case "???":
                message = f"{quoted(title(path))} must be given a value"
                return self._empty(
                    path, "missing-value", message, "`???` marks a value that a file or an override must set"
                )
            case "***":
                message = f"{quoted(title(path))} must be given a value"
                hint = "`***` hides a value of the environment; `aegisrt config --show-env` prints it"
                return self._empty(path, "missing-value", message, hint)
            case str():
                if _encodable(value):
                    return str(value)
                return self._empty(path, "bad-value", *_why_not_encodable(value))
            case int():
                if value.bit_length() <= _MAX_INT_BITS:
                    return int(value)
                return self._empty(path, "out-of-range", f"the number has more than {_MAX_INT_BITS} bits")
            case float():
                if math.isfinite(value):
                    return float(value)
                hint = "if it is meant as text, put it in quotes"
                return self._empty(path, "out-of-range", f"`{value}` is not a finite number", hint)
        message = f"a value of Python type `{type(value).__name__}` cannot be in a manifest"
        hint = "a manifest contains text, numbers, true, false, null, lists and mappings"
        return self._empty(path, "wrong-type", message, hint)

    def _empty(self, path: KeyPath, id: str, message: str, hint: str | None = None) -> None:  # noqa: A002
        self.emptied.add(path)
        self.locator.at_value(path, id, message, hint=hint)

    def _refuse_key(self, path: KeyPath, key: Any) -> None:
        if isinstance(key, str):
            self.locator.at_key(path, "bad-name", f"the name {shown(key)} contains half of a surrogate pair")
            return
        message = f"{quoted(shown(key))} is read as {described(key)}, and a name is text"
        self.locator.at_key(path, "key-not-text", message, label="put it in quotes")


def _why_not_encodable(text: str) -> tuple[str, str | None]:
    """Return message and hint; Python reads bytes of a path that are not UTF-8 as U+DC80 to U+DCFF."""
    if any("\ud800" <= c <= "\udfff" and not "\udc80" <= c <= "\udcff" for c in text):
        return f"{shown(text)} contains half of a surrogate pair", None
    return f"{shown(text)} contains bytes that are not UTF-8", "rename the file or folder, or run in a UTF-8 locale"


def _encodable(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)
