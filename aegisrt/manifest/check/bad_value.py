"""`explain_bad_value`: a value of the right type that is not allowed, or that a validator refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic_core import ErrorDetails

from aegisrt.core.suggest import listed, meant, nearest, quoted
from aegisrt.core.tensor import DataType
from aegisrt.manifest.annotations import choices
from aegisrt.manifest.check.locate import Locator, title
from aegisrt.manifest.check.schema_walk import SchemaPlace
from aegisrt.manifest.diagnostics.wording import described
from aegisrt.manifest.hidden import HIDDEN


def explain_bad_value(place: SchemaPlace, errors: list[ErrorDetails], locator: Locator) -> None:
    """Report the allowed values of a place, or the validator's own message."""
    allowed = choices(place.expected)
    if allowed and any(error["type"] in ("literal_error", "enum") for error in errors):
        _none_of(allowed, place, errors[0]["input"], locator)
    else:
        _refused(place, errors[0], locator)


def _none_of(allowed: list[str], place: SchemaPlace, found: Any, locator: Locator) -> None:
    near = _near(found, allowed) if isinstance(found, str) else None
    locator.at_value(
        place.path,
        "bad-value",
        f"{quoted(title(place.path))} cannot be {described(found)}",
        label=meant(near) or "not an allowed value",
        hint=f"allowed {'is' if len(allowed) == 1 else 'are'} {listed(allowed)}",
    )


def _near(found: str, allowed: list[str]) -> str | None:
    """Return the most similar allowed value; numpy's names of data types are understood."""
    if DataType.FP32 in allowed:
        try:
            return DataType.of(np.dtype(found))
        except TypeError:
            pass
    return nearest(found, allowed)


def _refused(place: SchemaPlace, error: ErrorDetails, locator: Locator) -> None:
    reason = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    found = error["input"]
    if found is HIDDEN:
        reason = "its value is refused; `--show-env` shows it"
    digest = bool(place.path) and place.path[-1] == "sha256"
    at = locator.at_key if isinstance(found, dict | list) else locator.at_value
    label = f"{len(found)} characters" if digest and isinstance(found, str) else "refused"
    hint = "write the 64 digits alone" if digest else None
    at(
        place.path,
        "bad-sha256" if digest else "bad-value",
        f"{quoted(title(place.path))}: {reason}",
        label=label,
        hint=hint,
    )
