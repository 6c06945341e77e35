"""`Target`: the backend under test, as a recipe for fresh ones; `fault`: why a class cannot be one."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from aegisrt.backends.base.backend import Availability, RuntimeBackend
from aegisrt.backends.registry import backend_class, entries
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.options import BackendOptions
from aegisrt.core.resources import configs_dir
from aegisrt.core.result import Err, Error, ErrorCode, fail
from aegisrt.devices.base import Device
from aegisrt.manifest.compose.base import option_sets

Backend = RuntimeBackend[Any]
_COLLECTIONS = ("devices", "formats", "builds_from", "dtypes", "narrowed")


@dataclass(frozen=True, slots=True)
class Target:
    """A backend class, its options and its device. Pickles when the class can be imported by name."""

    backend: type[Backend]
    device: Device
    options: dict[str, Any] = field(default_factory=dict)
    instances: int = 2

    @staticmethod
    def of(
        backend: str | type[Backend] | Backend, *, device: str = "cpu", options: dict[str, Any], instances: int
    ) -> Target:
        """Return the target for a kind (or its option set, such as `trt`), a class or an instance.

        From an instance only the class and the options are used.

        NOT_FOUND: if the kind is unknown.
        INVALID_ARGUMENT: if the device is unknown, the object is not a backend, or the options are wrong.
        Other codes: if the registry refuses the kind; `refusal` returns that error.
        """
        found = Device.parse(device)
        if isinstance(backend, RuntimeBackend):
            own = backend.options.model_dump(mode="json")
            return Target(type(backend), found, {**own, **options}, instances)
        if isinstance(backend, str):
            backend = backend_class(_kind(backend)).unwrap()
        if not (isinstance(backend, type) and issubclass(backend, RuntimeBackend)):
            message = f"{backend!r} is not a backend: name a kind, or pass a RuntimeBackend subclass or an instance"
            raise fail(ErrorCode.INVALID_ARGUMENT, message)
        if fault(backend) is not None:
            return Target(backend, found, options, instances)
        target = Target(backend, found, {**backend.conformance_options, **options}, instances)
        try:
            target.parsed_options()
        except ValidationError as error:
            first = error.errors()[0]
            message = f"options of backend `{target.kind}`: {'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, _known(target)) from None
        except (Exception, SystemExit):  # noqa: BLE001, S110  (a third party's validator; the checks report what it raises)
            pass
        return target

    @property
    def kind(self) -> str:
        """Return the backend's kind; the name of a class that has none."""
        kind = getattr(self.backend, "kind", None)
        return kind if isinstance(kind, str) else self.backend.__name__

    def availability(self) -> Availability | None:
        """Return the backend's availability; None if it raises, or returns something else: a check reports that."""
        try:
            found = self.backend.availability()
        except (Exception, SystemExit):  # noqa: BLE001  (a third party's method)
            return None
        return found if isinstance(found, Availability) else None

    def parsed_options(self) -> BackendOptions:
        """Return the options, validated."""
        return self.backend.Options.parse(self.options)

    def make(self) -> Backend:
        """Return a fresh backend with nothing loaded."""
        return self.backend(self.parsed_options(), device=self.device, instances=self.instances)

    def not_importable(self) -> str | None:
        """Return why another process cannot import the class by its name, or None."""
        where = f"`{self.backend.__module__}.{self.backend.__qualname__}`"
        if self.backend.__module__ == "__main__":
            return f"{where} is defined in a script: put it in a module"
        try:
            pickle.dumps(self.backend)
        except (pickle.PicklingError, AttributeError):
            return f"{where} is defined inside a function: put it at the top of a module"
        return None if self.backend.__module__ in sys.modules else f"{where} is not in a loaded module"


def fault(backend: type[Any]) -> str | None:
    """Return which attribute of a backend class has a wrong type, so that no check can run; else None."""
    kind, can, options = (getattr(backend, name, None) for name in ("kind", "capabilities", "Options"))
    if not isinstance(kind, str):
        return f"`kind` is {kind!r}, not a string"
    if not isinstance(can, Capabilities):
        return f"`capabilities` is {can!r}, not a Capabilities"
    for name in _COLLECTIONS:
        if not isinstance(value := getattr(can, name), Collection):
            return f"`capabilities.{name}` is {value!r}, not a collection"
    if not (isinstance(options, type) and issubclass(options, BackendOptions)):
        return f"`Options` is {options!r}, not a subclass of BackendOptions"
    if not isinstance(backend.conformance_options, Mapping):
        return f"`conformance_options` is {backend.conformance_options!r}, not a mapping"
    return None


def refusal(name: str) -> Error | None:
    """Return why the registry refuses a known kind, such as one whose module does not import; None if it does not."""
    found = backend_class(_kind(name))
    of_the_call = (ErrorCode.NOT_FOUND, ErrorCode.RESOURCE_EXHAUSTED)
    return found.error if isinstance(found, Err) and found.error.code not in of_the_call else None


def _kind(name: str) -> str:
    """Return the kind of an option set of the base, such as `trt`; any other name unchanged."""
    return option_sets(entries().unwrap(), configs_dir()).get(name, name)


def _known(target: Target) -> str:
    return f"options are {', '.join(f'`{name}`' for name in target.backend.Options.model_fields)}"
