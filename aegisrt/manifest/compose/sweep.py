"""`expand_sweep`: the overrides of each cell of a sweep, `a=1,2 b=x,y`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

from aegisrt.core.diagnostic import Diagnostic
from aegisrt.core.result import Err, Ok, Result
from aegisrt.manifest.compose.hydra import GrammarError, sweep_values, using_hydra
from aegisrt.manifest.compose.override_errors import bad_override, deep_place
from aegisrt.manifest.compose.overrides import place_in
from aegisrt.manifest.errors import manifest_error
from aegisrt.manifest.read.limits import too_deep

_MOST_CELLS = 10_000


def expand_sweep(overrides: Sequence[str]) -> Result[list[list[str]]]:
    """Return the overrides of each cell of a sweep: every combination of the values in `a=1,2 b=x,y`, in order.

    Overrides of one value are unchanged in every cell. INVALID_ARGUMENT, with diagnostics: if Hydra's grammar refuses
    one, or if its values cannot be listed (`interval(0,1)`, `glob(*)`).
    """
    diagnostics: list[Diagnostic] = []
    with using_hydra():
        each = [_swept(text, diagnostics) for text in overrides]
    if prod(map(len, each)) > _MOST_CELLS:
        place = place_in(overrides[0], 0, len(overrides[0]))
        hint = "sweep over fewer values"
        diagnostics.append(Diagnostic("bad-override", f"a sweep of more than {_MOST_CELLS} cells", place, hint=hint))
    if diagnostics:
        return Err(manifest_error(diagnostics, "the command line"))
    return Ok([list(cell) for cell in product(*each)])


def _swept(text: str, diagnostics: list[Diagnostic]) -> list[str]:
    """Return an override once for each of its values."""
    deep = deep_place(text)
    if deep is not None:
        diagnostics.append(too_deep(deep))
        return []
    try:
        values = sweep_values(text, _MOST_CELLS + 1)
    except GrammarError as error:
        diagnostics.append(bad_override(text, text.find("=") + 1, str(error).splitlines()[0]))
        return []
    if values is None:
        place = place_in(text, text.find("=") + 1, len(text))
        hint = "name the values: `a=1,2`, `a=range(1,4)`"
        diagnostics.append(Diagnostic("bad-override", "a sweep goes over values that can be listed", place, hint=hint))
    return values or []
