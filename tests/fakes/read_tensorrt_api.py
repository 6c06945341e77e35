"""Write the classes of a TensorRT binding wheel to the files from which `tensorrt.py` makes the fake.

    python -m tests.fakes.read_tensorrt_api WHEEL... --out tests/fakes/tensorrt_api

The bindings need libraries that no wheel has, so stubs with the same names are compiled with `cc` and preloaded: the
module then imports, and its classes, signatures and enumerations are the real ones. Needs CPython of the wheel's tag.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.machinery
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CLASSES = (
    "ILogger", "Runtime", "ICudaEngine", "IExecutionContext", "IOutputAllocator", "Builder", "IBuilderConfig",
    "INetworkDefinition", "ITensor", "ILayer", "IOptimizationProfile", "OnnxParser", "ParserError", "ITimingCache",
    "IProgressMonitor", "IHostMemory", "Refitter", "OnnxParserRefitter",
)  # fmt: skip
ENUMS = (
    "DataType", "TensorIOMode", "TensorLocation", "BuilderFlag", "NetworkDefinitionCreationFlag", "MemoryPoolType",
    "TacticSource", "PreviewFeature", "HardwareCompatibilityLevel", "OnnxParserFlag", "ErrorCode", "LayerType",
    "ComputeCapability", "ExecutionContextAllocationStrategy", "TensorFormat",
)  # fmt: skip
FUNCTIONS = ("init_libnvinfer_plugins",)
_SIGNATURE = re.compile(r"^(?:\d+\. )?\w+\((.*)\) -> ")
_UNDEFINED = re.compile(r" U ([A-Za-z_]\w*)$", re.MULTILINE)


def describe(module, version):
    """Return the part of a module's surface that a run and a build touch."""
    return {
        "version": version,
        "classes": {name: _class(getattr(module, name)) for name in CLASSES if hasattr(module, name)},
        "enums": {name: sorted(getattr(module, name).__members__) for name in ENUMS if hasattr(module, name)},
        "named_by_method": [name for name in ENUMS if callable(getattr(_first(module, name), "name", None))],
        "functions": {name: _overloads(getattr(module, name).__doc__) for name in FUNCTIONS if hasattr(module, name)},
    }


def _first(module, name):
    """Return a member of an enumeration, or None if the module has no such enumeration."""
    return next(iter(getattr(module, name).__members__.values())) if hasattr(module, name) else None


def _class(kind):
    methods, properties = {}, {}
    for name in dir(kind):
        if name.startswith("_") and name != "__init__":
            continue
        value = getattr(kind, name)
        if isinstance(value, property):
            properties[name] = value.fset is not None
        elif callable(value) and (overloads := _overloads(value.__doc__)):
            methods[name] = overloads
    return {"methods": methods, "properties": properties}


def _overloads(doc):
    found = []
    for line in (doc or "").splitlines():
        match = _SIGNATURE.match(line.strip())
        if match and match[1] != "*args, **kwargs":
            arguments = ", ".join(_argument(text) for text in _split(match[1]) if not text.startswith("self:"))
            found += [arguments] if arguments not in found else []
    return found


def _argument(text):
    """Return an argument's name, with a `?` where it has a default."""
    name, _, kind = text.partition(": ")
    return f"{name}?" if " = " in kind else name


def _split(text):
    """Split arguments at the commas outside brackets."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "[(<") - (char in "])>")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts if part.strip()]


def read_wheel(wheel):
    """Return the version of a wheel's bindings and their module."""
    folder = Path(tempfile.mkdtemp())
    zipfile.ZipFile(wheel).extractall(folder)
    library = next(folder.glob("*/tensorrt*.so"))
    table = subprocess.run(["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True).stdout
    own = [name for name in _UNDEFINED.findall(table) if re.match(r"create|get[A-Z]|init[A-Z]|_ZN\d+nv", name)]
    source = folder / "stub.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in own))
    needed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    for name in re.findall(r"\[(lib(?:nv|tensorrt)\S+)\]", needed):
        stub = folder / name
        subprocess.run(["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", stub, source], check=True)
        ctypes.CDLL(str(stub), mode=ctypes.RTLD_GLOBAL)
    name = library.name.partition(".")[0]
    spec = importlib.util.spec_from_loader(name, importlib.machinery.ExtensionFileLoader(name, str(library)))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    version = re.search(r'__version__ = "([^"]+)"', library.with_name("__init__.py").read_text())[1]
    return version, module


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, default=Path("tests/fakes/tensorrt_api"))
    arguments = parser.parse_args()
    version, module = read_wheel(arguments.wheel)
    family = re.match(r"tensorrt(_rtx|_lean|_dispatch)?", arguments.wheel.name)[0]
    target = arguments.out / f"{family}-{version}.json"
    target.write_text(json.dumps(describe(module, version), indent=1, sort_keys=True) + "\n")
    sys.stdout.write(f"{target}\n")


if __name__ == "__main__":
    main()
