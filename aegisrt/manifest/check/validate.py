"""`validate`: a composition becomes a `Manifest`, or every error in it at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Annotated, Any, Union

from pydantic import ValidationError

from aegisrt.core.options import BackendOptions
from aegisrt.core.result import Err, Ok, Result
from aegisrt.manifest.check.files import check_files
from aegisrt.manifest.check.json_values import json_values
from aegisrt.manifest.check.links import check_links
from aegisrt.manifest.check.locate import Locator
from aegisrt.manifest.check.pydantic_errors import explain_errors
from aegisrt.manifest.check.schema_walk import ByKind
from aegisrt.manifest.composition import Composition
from aegisrt.manifest.errors import manifest_error
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
    """Return the manifest, or an error whose `diagnostics` are all errors: of the schema, of links and of files.

    What a composition made `partly` has `found` is among them, and nothing more is said of its places.

    `groups` are keys of the composition that belong to other groups than the manifest's, and are not looked at.
    `files=False` leaves the file system alone. The error's code is INVALID_ARGUMENT, unless all errors are of
    files: NOT_FOUND, PERMISSION_DENIED, or DATA_LOSS for a wrong sha256.
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
    if refused and not locator.found:  # never known to happen; better vague than silent
        locator.at_value((), "bad-value", str(refused.errors()[0]["msg"]))
    told = {one.location for one in composition.found}
    found = [*composition.found, *(one for one in locator.found if one.location not in told)]
    if manifest is None or found:
        return Err(manifest_error(found, composition.name))
    return Ok(manifest)
