"""`Check`, and the decorator that registers one; docs/CONFORMANCE.md is generated from what stands here."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aegisrt.core.capabilities import Capabilities
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import suggest
from aegisrt.core.tensor import DataType

if TYPE_CHECKING:
    from aegisrt.conformance.subject import Subject

Body = Callable[["Subject"], None]
_ID = re.compile(r"^[a-z0-9]+(-[a-z0-9]+)*\.[a-z0-9]+(-[a-z0-9]+)*$")
_registered: dict[str, Check] = {}


@dataclass(frozen=True, slots=True)
class Need:
    """What a backend must declare for a check to apply."""

    text: str
    """The need in words, such as `dynamic_shapes=True`."""
    unmet: str
    """What a backend that does not have it declares, such as `declares dynamic_shapes=False`."""
    met_by: Callable[[Capabilities], bool]


@dataclass(frozen=True, slots=True)
class Check:
    """One rule that a backend keeps."""

    id: str
    """Stable: `subject.rule`."""
    rule: str
    """The rule in one sentence."""
    why: str
    """What goes wrong in production where it is broken; with a source where there is one."""
    fix: str
    """How the author of a backend mends a failure."""
    needs: tuple[Need, ...]
    isolated: bool
    """Runs in a process of its own, since it feeds an engine what may kill or spoil the process."""
    body: Body

    @property
    def subject(self) -> str:
        """Return the part of the id before the dot."""
        return self.id.partition(".")[0]

    def unmet(self, capabilities: Capabilities) -> str | None:
        """Return why the check does not apply to a backend with these capabilities, or None."""
        return next((need.unmet for need in self.needs if not need.met_by(capabilities)), None)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as `aegisrt conformance --list --json` prints them."""
        needs = [need.text for need in self.needs]
        words = {"id": self.id, "rule": self.rule, "why": self.why, "fix": self.fix}
        return {**words, "needs": needs, "isolated": self.isolated}


def check(
    name: str, *, why: str, fix: str, needs: Sequence[Need] = (), isolated: bool = False, rule: str | None = None
) -> Callable[[Body], Body]:
    """Return a decorator that registers a check under the id `name`; its rule is the docstring unless given."""

    def register(body: Body) -> Body:
        text = rule or (body.__doc__ or "").strip()
        if not _ID.match(name) or name in _registered or not text:
            raise ValueError(f"check `{name}` is malformed, has no rule, or is registered already")
        _registered[name] = Check(name, text, why, fix, tuple(needs), isolated, body)
        return body

    return register


def declares(field: str, value: bool = True) -> Need:
    """Return the need of a capability that is True or False."""
    return Need(f"{field}={value}", f"declares {field}={not value}", lambda c: getattr(c, field) is value)


def declares_dtype(dtype: DataType) -> Need:
    """Return the need of a dtype among the declared ones."""
    return Need(f"{dtype} in dtypes", f"declares no {dtype}", lambda c: dtype in c.dtypes)


def declares_some(field: str) -> Need:
    """Return the need of a capability that is a collection and is not empty."""
    return Need(f"{field} not empty", f"declares {field}=()", lambda c: bool(getattr(c, field)))


def all_checks() -> dict[str, Check]:
    """Return every check of the kit by id, in the order of its files."""
    import aegisrt.conformance.checks  # noqa: F401  (importing it registers them)

    return dict(_registered)


def select(globs: Sequence[str], exclude: Sequence[str] = ()) -> list[Check]:
    """Return the checks whose ids match one of `globs` and none of `exclude`.

    INVALID_ARGUMENT for a glob that matches no check at all: a typo must not look like a green run.
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
