"""`configured`: the options of a run, composed of configs/conformance/ and overrides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from aegisrt.conformance.options import ConformanceOptions
from aegisrt.core.options import StrictModel
from aegisrt.core.result import Err, Ok, Result
from aegisrt.manifest.check.json_values import json_values
from aegisrt.manifest.check.locate import Locator
from aegisrt.manifest.check.pydantic_errors import explain_errors
from aegisrt.manifest.compose.compose import compose
from aegisrt.manifest.errors import manifest_error

GROUP = "conformance"
DEFAULT = "full"


class _OptionsRoot(StrictModel):
    conformance: ConformanceOptions


def configured(overrides: Sequence[str], *, config_dir: Path | str | None = None) -> Result[ConformanceOptions]:
    """Return the options from the group `conformance` and overrides; `full` if no file of the group is chosen.

    An error's `diagnostics` list every problem with its place.
    """
    chosen = any(text.lstrip("+").partition("=")[0].strip() == GROUP for text in overrides)
    complete = [*overrides] if chosen else [f"{GROUP}={DEFAULT}", *overrides]
    composed = compose({}, complete, config_dir=config_dir, kinds={}, groups=(GROUP,))
    if isinstance(composed, Err):
        return composed
    locator = Locator(composed.value.origins, "the command line")
    values, emptied = json_values({GROUP: composed.value.values.get(GROUP, {})}, locator)
    try:
        root = _OptionsRoot.model_validate_json(json.dumps(values))
    except ValidationError as error:
        explain_errors(error, _OptionsRoot, {}, emptied, locator)
        return Err(manifest_error(locator.diagnostics, "the command line"))
    return Err(manifest_error(locator.diagnostics, "the command line")) if locator.diagnostics else Ok(root.conformance)
