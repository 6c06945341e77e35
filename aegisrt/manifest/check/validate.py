"""`validate`: a composition becomes a `Manifest`, or every error in it at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import ValidationError

from aegisrt.core.diagnostic import Diagnostic
from aegisrt.core.options import BackendOptions
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result
from aegisrt.manifest.check.files import check_files
from aegisrt.manifest.check.json_values import json_values
from aegisrt.manifest.check.links import check_links
from aegisrt.manifest.check.locate import Locator
from aegisrt.manifest.check.pydantic_errors import explain_errors
from aegisrt.manifest.check.schema_walk import ByKind
from aegisrt.manifest.schema import Manifest

if TYPE_CHECKING:
    from aegisrt.manifest.composition import Composition

Kinds = Mapping[str, type[BackendOptions]]

_CODES = {
    "missing-file": ErrorCode.NOT_FOUND,
    "unreadable-file": ErrorCode.PERMISSION_DENIED,
    "wrong-sha256": ErrorCode.DATA_LOSS,
}


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


def manifest_error(diagnostics: Iterable[Diagnostic], name: str) -> Error:
    """Return the error that carries the diagnostics of a manifest: of files by line, then of overrides.

    What an alias (`*x`) brings to several places is told once, at the place where it is written.
    """
    by_text = {(found.id, found.location, found.message): found for found in reversed([*diagnostics])}
    ordered = sorted(by_text.values(), key=_order)
    codes = {_CODES.get(diagnostic.id, ErrorCode.INVALID_ARGUMENT) for diagnostic in ordered}
    first = ordered[0]
    more = len(ordered) - 1
    message = first.message if not more else f"{first.message}; {more} more error{'s' * (more > 1)} in {name}"
    return Error(
        codes.pop() if len(codes) == 1 else ErrorCode.INVALID_ARGUMENT,
        message,
        first.hint or first.label,
        first.location,
        diagnostics=tuple(ordered),
    )


def _order(diagnostic: Diagnostic) -> tuple[bool, str, int, int, str]:
    at = diagnostic.location
    return at.file.startswith("override "), at.file, at.line, at.column, diagnostic.id
