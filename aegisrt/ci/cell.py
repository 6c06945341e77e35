"""`read_cell`: one file of configs/ci/ with its overrides, composed over the groups of deployments."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from aegisrt.ci.check import check_cell, check_overrides
from aegisrt.ci.options import CellOptions
from aegisrt.core.options import StrictModel
from aegisrt.core.result import Err, Ok, Result
from aegisrt.manifest.check.json_values import json_values
from aegisrt.manifest.check.locate import Locator
from aegisrt.manifest.check.pydantic_errors import explain_errors
from aegisrt.manifest.compose.compose import compose
from aegisrt.manifest.compose.library import ConfigLibrary
from aegisrt.manifest.errors import manifest_error

GROUP = "ci"


class _CellRoot(StrictModel):
    ci: CellOptions


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell from its file and overrides; one also if it names several versions of Python."""

    file: str
    """The file's name in the group."""
    options: CellOptions
    overrides: tuple[str, ...]
    """Overrides of the packaged demo: the cell's own, then those of the command line."""
    locator: Locator
    """The origins of its values."""


def read_cell(
    name: str, own: Sequence[str], deployment: Sequence[str], library: ConfigLibrary, config_dir: Path | str | None
) -> Result[Cell]:
    """Return the valid cell of the file `name`, or an error with a diagnostic for each mistake in it.

    `own` are overrides of the cell (`ci.timeout_minutes=60`); `deployment` are overrides of the packaged demo, applied
    after the cell's own. It loads no engine.
    """
    composed = compose({}, [f"{GROUP}={name}", *own], config_dir=config_dir, kinds={}, groups=(GROUP,))
    if isinstance(composed, Err):
        return composed
    locator = Locator(composed.value.origins, f"the cell {name}")
    options = _validated(composed.value.values, locator)
    if options is not None:
        check_cell(options, library, locator)
        check_overrides(options.overrides, deployment, config_dir, locator)
    if options is None or locator.diagnostics:
        return Err(manifest_error(locator.diagnostics, f"the cell {name}"))
    return Ok(Cell(name, options, (*options.overrides, *deployment), locator))


def _validated(composed: dict[str, Any], locator: Locator) -> CellOptions | None:
    values, emptied = json_values({GROUP: composed.get(GROUP, {})}, locator)
    try:
        return _CellRoot.model_validate_json(json.dumps(values)).ci
    except ValidationError as error:
        explain_errors(error, _CellRoot, {}, emptied, locator)
        return None
