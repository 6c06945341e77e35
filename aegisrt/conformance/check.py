"""`Check`, and the decorator that registers one; docs/CONFORMANCE.md is generated from the registered checks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aegisrt.core.capabilities import Capabilities
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
    """The need as reports show it, such as `dynamic_shapes=True`."""
    unmet: str
    """What a backend without it declares, such as `declares dynamic_shapes=False`."""
    met_by: Callable[[Capabilities], bool]


@dataclass(frozen=True, slots=True)
class Check:
    """One rule of the contract."""

    id: str
    """Stable: `subject.rule`."""
    rule: str
    """The rule in one sentence."""
    why: str
    """What goes wrong in production if it is broken, with a source if there is one."""
    fix: str
    """How the author of a backend fixes a failure."""
    needs: tuple[Need, ...]
    isolated: bool
    """Runs in a process of its own, because its inputs may kill the process or damage its state."""
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
        texts = {"id": self.id, "rule": self.rule, "why": self.why, "fix": self.fix}
        return {**texts, "needs": needs, "isolated": self.isolated}


def check(
    name: str, *, why: str, fix: str, needs: Sequence[Need] = (), isolated: bool = False, rule: str | None = None
) -> Callable[[Body], Body]:
    """Return a decorator that registers a check under the id `name`; without `rule`, its rule is the docstring."""

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


def registered() -> dict[str, Check]:
    """Return the checks registered so far, by id; `catalogue.all_checks` has every check of the kit."""
    return dict(_registered)
