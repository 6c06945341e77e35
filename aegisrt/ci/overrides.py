"""`split_overrides`: overrides of `aegisrt ci-matrix` by their target, for each combination of a sweep."""

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
class SplitOverrides:
    """Overrides by their target."""

    chosen: tuple[str, ...]
    """The cells of `ci=NAME`; empty means all."""
    own: tuple[str, ...]
    """Overrides of a cell's fields: `ci.python=3.12`."""
    deployment: tuple[str, ...]
    """Overrides of the packaged demo: `backends.trt.precision=fp16`."""
    swept: tuple[str, ...]
    """The overrides with several values in a sweep; they distinguish the entries of a cell."""


def split_overrides(overrides: Sequence[str], multirun: bool) -> Result[list[SplitOverrides]]:
    """Return the split overrides of each combination of a sweep; without `multirun`, of the only one."""
    diagnostics = [diagnostic for text in overrides if (diagnostic := _misplaced(text)) is not None]
    if diagnostics:
        return Err(manifest_error(diagnostics, "the command line"))
    expanded = expand_sweep(overrides) if multirun else Ok([list(overrides)])
    if isinstance(expanded, Err):
        return expanded
    return Ok([_split(texts, overrides) for texts in expanded.value])


def _split(texts: Sequence[str], unexpanded: Sequence[str]) -> SplitOverrides:
    swept = [text for text, whole in zip(texts, unexpanded, strict=True) if text != whole and _key(text) != GROUP]
    by_head = [(_key(text).partition(".")[0], text) for text in texts]
    return SplitOverrides(
        chosen=tuple(text.partition("=")[2].strip() for text in texts if _key(text) == GROUP),
        own=tuple(text for head, text in by_head if head == GROUP and _key(text) != GROUP),
        deployment=tuple(text for head, text in by_head if head != GROUP),
        swept=tuple(swept),
    )


def _misplaced(text: str) -> Diagnostic | None:
    """Return a diagnostic for an override's form: a field without `ci.`, blanks, a list of cells."""
    key = _key(text)
    start = len(text) - len(text.lstrip("+~ "))
    place = place_in(text, start, start + len(key))
    if key.partition(".")[0] in set(CellOptions.model_fields) - {*TOP, "backend", "device", "conformance"}:
        hint = f"write `ci.{text[start:]}`"
        message = f"`{key}` is a field of a cell, so it belongs under `ci`"
        return Diagnostic("unknown-field", message, place, path=key, label=f"did you mean `ci.{key}`?", hint=hint)
    if key.partition(".")[0] != GROUP and any(char.isspace() for char in text):
        message, hint = f"`{key}` is passed to the cell, and contains blanks", "write it without: `a=[1,2]`, `a={b:1}`"
        return Diagnostic("bad-override", message, place_in(text, 0, len(text)), path=key, hint=hint)
    if key == GROUP and (text.startswith("~") or "[" in text):
        hint = "write `ci=NAME` for one cell, and `-m ci=NAME,NAME` for several"
        return Diagnostic("bad-override", "a cell is chosen by its name", place, path=key, hint=hint)
    return None


def _key(text: str) -> str:
    return text.lstrip("+~ ").partition("=")[0].strip()
