"""`check_links`: finds undeclared names, and streams on another device than their backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aegisrt.core.diagnostic import Note
from aegisrt.core.options import BackendOptions
from aegisrt.core.suggest import listed, meant, nearest, quoted
from aegisrt.manifest.check.locate import Locator
from aegisrt.manifest.origin import KeyPath

_REFERENCES = {
    ("models", "backend"): "backends",
    ("backends", "device"): "devices",
    ("backends", "stream"): "streams",
    ("streams", "device"): "devices",
}
_DEFAULT_DEVICE: str = BackendOptions.model_fields["device"].default


def is_reference(path: KeyPath) -> bool:
    """Return True if the value at `path` is the name of a device, stream or backend."""
    return len(path) == 3 and (path[0], path[2]) in _REFERENCES


def check_links(values: Mapping[str, Any], locator: Locator) -> None:
    """Report dangling references and mismatched streams; skip values of a wrong type.

    An option set of the base configuration is skipped if no model uses it: it costs nothing. If one is used, its error
    is located at its user.
    """
    links = _Links(values, locator)
    for (section, field), target in _REFERENCES.items():
        for name, options in _named(values, section):
            links.check(section, name, field, target, options)
    for name, options in _named(values, "backends"):
        links.check_stream(name, options)


@dataclass(slots=True)
class _Links:
    values: Mapping[str, Any]
    locator: Locator

    def check(self, section: str, name: str, field: str, target: str, options: Mapping[str, Any]) -> None:
        wanted = self.reference(section, field, options)
        declared = _section(self.values, target)
        if wanted is None or wanted in declared or self.locator.is_full:
            return
        asked_at = self.asked_at(section, name, field)
        if asked_at is None:
            return
        # The declared name that is nearest to a hidden value would show a part of it, run by run all of it.
        near = None if self.locator.origins.of(asked_at).from_env else self.near(wanted, target)
        singular = target.removesuffix("s")
        by_default = "" if asked_at == (section, name, field) else f", the {field} of `{section}.{name}`,"
        self.locator.at_value(
            asked_at,
            "dangling-reference",
            f"{singular} {quoted(wanted)}{by_default} is not declared under `{target}`",
            label=meant(near) or f"no such {singular}",
            hint=f"{target} are {listed(declared)}" if declared else f"no {target} are declared",
            notes=(self.declaration(target, near),) if near else (),
        )

    def reference(self, section: str, field: str, options: Mapping[str, Any]) -> str | None:
        """Return the name in a reference, also a default one; None if there is none, or if it is not text."""
        wanted = options.get(field, _DEFAULT_DEVICE if (section, field) == ("backends", "device") else None)
        return wanted if isinstance(wanted, str) else None

    def asked_at(self, section: str, name: str, field: str) -> KeyPath | None:
        """Return the value that needs a reference: its own, or that of its user; None if it has no user."""
        path = (section, name, field)
        if section == "models" or not self.locator.is_base(path):
            return path
        return next(
            (
                asked_at
                for (user, by), target in _REFERENCES.items()
                for user_name, options in _named(self.values, user)
                if target == section and options.get(by) == name and (asked_at := self.asked_at(user, user_name, by))
            ),
            None,
        )

    def near(self, wanted: str, target: str) -> str | None:
        """Return the most similar declared name, or the only one of that kind."""
        of_kind = [name for name, options in _named(self.values, target) if options.get("kind") == wanted]
        names = [name for name in _section(self.values, target) if isinstance(name, str)]
        return nearest(wanted, names) or (of_kind[0] if len(of_kind) == 1 else None)

    def declaration(self, target: str, name: str) -> Note:
        path = (target, name)
        if self.locator.origins.of(path).key is None:
            return Note(f"{quoted(name)} is declared by the base configuration")
        return Note(f"{quoted(name)} is declared here", self.locator.key(path))

    def check_stream(self, name: str, options: Mapping[str, Any]) -> None:
        stream = self.reference("backends", "stream", options)
        template = _section(self.values, "streams").get(stream) if stream else None
        theirs = template.get("device") if isinstance(template, Mapping) else None
        device = options.get("device", _DEFAULT_DEVICE)
        devices = _section(self.values, "devices")
        both_declared = _declared(device, devices) and _declared(theirs, devices)
        if stream is None or not both_declared or theirs == device or self.locator.is_full:
            return
        asked_at = self.asked_at("backends", name, "stream")
        if asked_at is None:
            return
        self.locator.at_value(
            asked_at,
            "stream-device-mismatch",
            f"backend {quoted(name)} runs on {quoted(device)}, and its stream {quoted(stream)} is on {quoted(theirs)}",
            label=f"a stream on {quoted(theirs)}",
            hint=f"name a stream whose device is {quoted(device)}, or set `backends.{name}.device` to {quoted(theirs)}",
            notes=(self.device_of("streams", stream, theirs), self.device_of("backends", name, device)),
        )

    def device_of(self, section: str, name: str, device: Any) -> Note:
        path = (section, name, "device")
        value = f"`{section}.{name}.device` is {quoted(device)}"
        is_default = self.locator.origins.of(path).source == "default"
        return Note(f"{value} by default") if is_default else Note(value, self.locator.value(path))


def _declared(name: Any, section: Mapping[str, Any]) -> bool:
    return isinstance(name, str) and name in section


def _section(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = values.get(name)
    return section if isinstance(section, Mapping) else {}


def _named(values: Mapping[str, Any], section: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the names and options of a section, those whose options are a mapping."""
    for name, options in _section(values, section).items():
        if isinstance(name, str) and isinstance(options, Mapping):
            yield name, options
