"""`all_checks`: every check of the kit; `select`: those whose ids match globs."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from aegisrt.conformance import checks  # noqa: F401  (importing the package registers its checks)
from aegisrt.conformance.check import Check, registered
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import suggest


def all_checks() -> dict[str, Check]:
    """Return every check of the kit by id, in the order of its files."""
    return registered()


def select(globs: Sequence[str], exclude: Sequence[str] = ()) -> list[Check]:
    """Return the checks whose ids match one of `globs` and none of `exclude`.

    INVALID_ARGUMENT: if a glob matches no check at all; a typo must not look like a green run.
    """
    known = all_checks()
    for glob in (*globs, *exclude):
        if not fnmatch.filter(known, glob):
            raise fail(ErrorCode.INVALID_ARGUMENT, f"no check matches `{glob}`", _nearest(glob, known))
    chosen = [item for item in known.values() if any(fnmatch.fnmatchcase(item.id, glob) for glob in globs)]
    return [item for item in chosen if not any(fnmatch.fnmatchcase(item.id, glob) for glob in exclude)]


def _nearest(glob: str, known: dict[str, Check]) -> str:
    subjects = sorted({f"{item.subject}.*" for item in known.values()})
    hint = suggest(glob, [*known, *subjects], "checks")
    return hint if hint.startswith("did") else f"subjects are {', '.join(f'`{name}`' for name in subjects)}"
