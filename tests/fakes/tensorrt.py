"""A recording stand-in for TensorRT, with exactly the classes, signatures and enumerations of a real binding wheel.

`tensorrt_api/` holds what `read_tensorrt_api.py` read from the wheels. A call of a method that the real class lacks, or
with arguments that it does not take, raises, and so does setting a property that it lacks; every call is recorded.
`tensorrt_runtime.py` runs plans on the memory of `FakeCuda`, `tensorrt_builder.py` makes them from ONNX; both
refuse what TensorRT's headers say that it refuses.
"""

from __future__ import annotations

import base64
import enum
import json
import types
from pathlib import Path

from tests.fakes import tensorrt_builder as fake_tensorrt_builder
from tests.fakes import tensorrt_runtime as fake_tensorrt_runtime
from tests.fakes.tensorrt_base import Plain, Subclassed

RUNTIMES = sorted(Path(__file__).with_name("tensorrt_api").glob("*.json"))
API = [path for path in RUNTIMES if not path.stem.startswith(("tensorrt_lean", "tensorrt_dispatch"))]
"""Those that build engines too."""


def plan(
    version, *, inputs, outputs, profiles=(), operation="double", formats=None, family=b"ftrt", shared=True, model=b""
):
    """Return the bytes of an engine file that the fake loads.

    `inputs` and `outputs` are `{name: (dtype, shape)}`; a profile is `{name: (min, opt, max)}`. `operation` is what it
    computes, `model` the ONNX model for the operation `onnx`; `shared`: contexts may share a profile on TensorRT 8;
    `formats` are the tensors' by name, where they are not linear.
    """
    described = {
        "inputs": inputs, "outputs": outputs, "profiles": list(profiles), "operation": operation, "shared": shared,
        "formats": formats or {}, "model": base64.b64encode(model).decode(),
    }  # fmt: skip
    body = json.dumps(described).encode()
    head = family + bytes(12) + (32 + len(body)).to_bytes(8, "little") + bytes(version[:4]).ljust(4, b"\0") + bytes(4)
    return head + body


class PybindEnum(enum.Enum):
    """An enumeration as pybind11 makes it: `str()` has the class's name, and a member is not an `int`."""

    def __str__(self):
        return f"{type(self).__name__}.{self._name_}"

    def __int__(self):
        return self._value_

    __index__ = __int__


class _NamedByMethod(PybindEnum):
    """`ErrorCode` of 8.6, whose bindings define a method `name` instead of pybind11's property."""

    def name(self):
        return self._name_


class ProcessDied(BaseException):
    """Stands for a crash of the whole process; the real one cannot be caught."""


class FakeTensorRT:
    """One imported distribution: `module` is what the backend imports."""

    def __init__(self, api, cuda):
        described = json.loads(Path(api).read_text(encoding="utf-8"))
        self.version = tuple(map(int, described["version"].split(".")))
        self.libraries = self.version
        """Their version may be another one than that of the bindings, which do not report it."""
        self.died = ProcessDied
        self.family = Path(api).stem.partition("-")[0]
        self.cuda = cuda
        self.calls = []
        self.destroyed = []
        self.destroyed_in_use = []
        self.refuse = {}
        """What a method answers instead, with the line it logs, by its name: once each."""
        self.logger = None
        self.plan = plan
        self.module = self._module(described)

    @property
    def is_rtx(self):
        return self.family == "tensorrt_rtx"

    @property
    def is_old(self):
        """Whether it is TensorRT 8: no INT64, no strong typing, profiles that contexts do not share by themselves."""
        return not self.is_rtx and self.version < (10,)

    @property
    def raises_safely(self):
        """Whether its bindings acquire the GIL before they raise, as those of 10.13 do and those of 10.12 do not."""
        return not self.is_rtx and self.version >= (10, 13)

    def raise_without_the_gil(self, text):
        """Raise RuntimeError as the bindings do from a call that released the GIL."""
        raise RuntimeError(text) if self.raises_safely else ProcessDied(text)

    def log(self, text, severity="ERROR"):
        if self.logger is not None:
            self.logger.log(types.SimpleNamespace(name=severity), text)

    def named(self, *names):
        """Return the recorded calls of these methods: name and arguments."""
        return [(name, *arguments) for name, arguments in self.calls if name in names]

    def _module(self, described):
        module = types.ModuleType(self.family)
        module.__version__ = described["version"]
        for name, members in described["enums"].items():
            kind = _NamedByMethod if name in described.get("named_by_method", ()) else PybindEnum
            setattr(module, name, kind(name, {member: number for number, member in enumerate(members)}))
        for name, surface in described["classes"].items():
            setattr(module, name, _restricted(self, module, name, surface, _behaviour(name)))
        for name, overloads in described["functions"].items():
            setattr(module, name, _method(self, name, overloads, lambda *arguments, **named: True, bound=False))
        return module


def _behaviour(name):
    for source in (fake_tensorrt_runtime, fake_tensorrt_builder):
        if hasattr(source, name):
            return getattr(source, name)
    return Plain


def _restricted(fake, module, class_name, surface, behaviour):
    """Return a class that has the members of the real one, and no others."""

    def assign(self, name, value):
        if name.startswith("_"):
            object.__setattr__(self, name, value)
            return
        if not surface["properties"].get(name):
            raise AttributeError(f"{class_name} of {fake.family} {module.__version__} has no writable `{name}`")
        fake.calls.append((f"{class_name}.{name}=", (value,)))
        fake.cuda.watch(f"{name}=", lambda: (self._set(name, value), object.__setattr__(self, f"_set_{name}", value)))

    def look_up(self, name):
        if name in surface["properties"]:
            value = self.__dict__.get(f"_set_{name}", self._properties().get(name))
            if value is not None:
                return value
            raise NotImplementedError(f"the fake {class_name} has no value of `{name}`")
        raise AttributeError(f"{class_name} of {fake.family} {module.__version__} has no `{name}`")

    def destroyed(self):
        if behaviour is not Plain and getattr(self, "_made", False):
            fake.destroyed.append(class_name)
            self._die()

    body = {"__setattr__": assign, "__getattr__": look_up, "__del__": destroyed, "_fake": fake, "_trt": module}
    body |= {name: _Absent() for name in dir(behaviour) if not name.startswith("_") and name not in surface["methods"]}
    for name, overloads in surface["methods"].items():
        if name == "__init__" and behaviour in (Plain, Subclassed):
            continue
        own = getattr(behaviour, name, None)
        body[name] = _method(fake, name, overloads, own or _missing(class_name, name))
    return type(class_name, (behaviour,), body)


class _Absent:
    """Hides a method that other versions have."""

    def __get__(self, instance, owner):
        raise AttributeError("this version has no such method")


def _missing(class_name, name):
    def call(*arguments, **named):
        raise NotImplementedError(f"the fake {class_name} has no behaviour for `{name}`")

    return call


def _method(fake, name, overloads, behaviour, *, bound=True):
    def call(*arguments, **named):
        given = arguments[1:] if bound else arguments
        if not any(_takes(overload, given, named) for overload in overloads):
            raise TypeError(f"{name}{given}{named} fits none of the real signatures: {overloads}")
        if name != "__init__":
            fake.calls.append((name, (*given, *named.values())))
        if name in fake.refuse:
            answer, text = fake.refuse.pop(name)
            fake.log(text)
            return answer
        return fake.cuda.watch(name, lambda: behaviour(*arguments, **named))

    return call


def _takes(overload, given, named):
    wanted = [item for item in overload.split(", ") if item]
    if len(given) > len(wanted):
        return False
    rest = {item.removesuffix("?"): item.endswith("?") for item in wanted[len(given) :]}
    return set(named) <= set(rest) and all(optional or name in named for name, optional in rest.items())
