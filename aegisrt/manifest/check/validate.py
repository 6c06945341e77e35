"""`validate`: turns a composition into a `Manifest`, or reports all of its errors at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Annotated, Any, Union

from pydantic import ValidationError

from aegisrt.core.diagnostic import Diagnostic
from aegisrt.core.options import BackendOptions
from aegisrt.core.result import Err, Ok, Result
from aegisrt.manifest.annotations import ByKind
from aegisrt.manifest.check.files import check_files
from aegisrt.manifest.check.json_values import json_values
from aegisrt.manifest.check.links import check_links
from aegisrt.manifest.check.locate import Locator
from aegisrt.manifest.check.pydantic_errors import explain_errors
from aegisrt.manifest.composition import Composition, hidden_values
from aegisrt.manifest.errors import manifest_error
from aegisrt.manifest.hidden import hide
from aegisrt.manifest.read.source import MAPPING_NAME
from aegisrt.manifest.schema import Manifest

Kinds = Mapping[str, type[BackendOptions]]


def manifest_type(kinds: Kinds) -> type[Manifest[Any]]:
    """Return the manifest whose backends are any of `kinds`, chosen by `kind`; the same class for the same kinds."""
    return _manifest_type(tuple(kinds.items()))


@lru_cache(maxsize=32)
def _manifest_type(kinds: tuple[tuple[str, type[BackendOptions]], ...]) -> type[Manifest[Any]]:
    options: Any = Union[tuple(options for _, options in kinds)] if kinds else BackendOptions  # noqa: UP007
    return Manifest[Annotated[options, ByKind(kinds)]]


def validate(
    composition: Composition, kinds: Kinds, *, groups: Collection[str] = (), files: bool = True
) -> Result[Manifest[Any]]:
    """Return the manifest, or an error whose `diagnostics` are all errors: of schema, links and files.

    The diagnostics of a composition made `partly` are included, and no more is reported at their places. `groups` are
    keys of the composition that are not the manifest's; they are ignored. `files=False` skips the checks of files.

    NOT_FOUND: if the only errors are files that do not exist.
    PERMISSION_DENIED: if the only errors are files that cannot be read.
    DATA_LOSS: if the only errors are wrong digests.
    INVALID_ARGUMENT: if there are any other errors.
    """
    locator = Locator(composition.origins, composition.name)
    own = {key: value for key, value in composition.values.items() if key not in groups}
    values, emptied = json_values(own, locator)
    root = manifest_type(kinds)
    manifest, refused = None, None
    try:
        manifest = root.model_validate_json(json.dumps(values))
    except ValidationError as error:
        refused = error
        explain_errors(error, root, kinds, emptied, locator)
    check_links(values, locator)
    if files:
        check_files(values, locator)
    if refused and not locator.diagnostics:  # not known to happen; a vague message is better than none
        locator.at_value((), "bad-value", str(refused.errors()[0]["msg"]))
    reported = {_place(one) for one in composition.diagnostics}
    diagnostics = [*composition.diagnostics, *(one for one in locator.diagnostics if _place(one) not in reported)]
    if manifest is None or diagnostics:
        return Err(manifest_error(hide(diagnostics, hidden_values(composition)), composition.name))
    return Ok(manifest)


def _place(diagnostic: Diagnostic) -> tuple[str, int, int, str]:
    """Return where a diagnostic starts; in a mapping from Python, which has no lines, with its path."""
    at = diagnostic.location
    return at.file, at.line, at.column, diagnostic.path if at.file == MAPPING_NAME else ""
