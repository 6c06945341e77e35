"""`sorted_words`: the overrides of `aegisrt ci-matrix`, by what they are of, once for each combination of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aegisrt.ci.cell import GROUP
from aegisrt.ci.options import CellOptions
from aegisrt.core.diagnostic import Diagnostic
from aegisrt.core.result import Err, Ok, Result
from aegisrt.manifest.compose.fields import TOP
from aegisrt.manifest.compose.overrides import place_in
from aegisrt.manifest.compose.sweep import expand_sweep
from aegisrt.manifest.errors import manifest_error


@dataclass(frozen=True, slots=True)
class Words:
    """Overrides by what they are of."""

    chosen: tuple[str, ...]
    """Of `ci=NAME`: the cell; empty stands for all."""
    own: tuple[str, ...]
    """Of a cell's fields: `ci.python=3.12`."""
    deployment: tuple[str, ...]
    """Of the packaged demo: `backends.trt.precision=fp16`."""
    swept: tuple[str, ...]
    """Those of one's fields and of the demo that a sweep gives several values; they set the cells apart."""


def sorted_words(overrides: Sequence[str], multirun: bool) -> Result[list[Words]]:
    """Return the overrides of each combination of a sweep; without `multirun`, of the one that they are."""
    found = [wrong for text in overrides if (wrong := _misplaced(text)) is not None]
    if found:
        return Err(manifest_error(found, "the command line"))
    expanded = expand_sweep(overrides) if multirun else Ok([list(overrides)])
    if isinstance(expanded, Err):
        return expanded
    return Ok([_sorted(texts, overrides) for texts in expanded.value])


def _sorted(texts: Sequence[str], before: Sequence[str]) -> Words:
    swept = [text for text, whole in zip(texts, before, strict=True) if text != whole and _key(text) != GROUP]
    by_head = [(_key(text).partition(".")[0], text) for text in texts]
    return Words(
        chosen=tuple(text.partition("=")[2].strip() for text in texts if _key(text) == GROUP),
        own=tuple(text for head, text in by_head if head == GROUP and _key(text) != GROUP),
        deployment=tuple(text for head, text in by_head if head != GROUP),
        swept=tuple(swept),
    )


def _misplaced(text: str) -> Diagnostic | None:
    """Return what is wrong with an override's form: a field without its `ci.`, blanks, no choice of one cell."""
    key = _key(text)
    start = len(text) - len(text.lstrip("+~ "))
    place = place_in(text, start, start + len(key))
    if key.partition(".")[0] in set(CellOptions.model_fields) - {*TOP, "backend", "device", "conformance"}:
        hint = f"write `ci.{text[start:]}`"
        message = f"`{key}` is a field of a cell, which is under `ci`"
        return Diagnostic("unknown-field", message, place, path=key, label=f"did you mean `ci.{key}`?", hint=hint)
    if key.partition(".")[0] != GROUP and any(char.isspace() for char in text):
        message, hint = f"`{key}` is handed on to the cell, and has blanks", "write it without: `a=[1,2]`, `a={b:1}`"
        return Diagnostic("bad-override", message, place_in(text, 0, len(text)), path=key, hint=hint)
    if key == GROUP and (text.startswith("~") or "[" in text):
        hint = "write `ci=NAME` for one cell, and `-m ci=NAME,NAME` for several"
        return Diagnostic("bad-override", "a cell is chosen by its name", place, path=key, hint=hint)
    return None


def _key(text: str) -> str:
    return text.lstrip("+~ ").partition("=")[0].strip()
