"""Backends that the tests of the kit judge; at the top of a module, so that the kit's processes can import them."""

import ctypes
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import replace

from aegisrt.backends.files.onnx import read_onnx
from aegisrt.backends.mock import MockBackend
from aegisrt.conformance.references.supply import MODELS
from aegisrt.core.optional import Requirement
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import DataType


class Modest(MockBackend):
    """Declares as little as a backend can, and refuses the rest."""

    capabilities = replace(
        MockBackend.capabilities,
        dtypes=frozenset({DataType.FP32, DataType.INT32}),
        dynamic_shapes=False,
        zero_size=False,
        scalars=False,
        output_subset=False,
    )


class Builder(MockBackend):
    """Loads what it built from ONNX alone, in a format of its own with a sidecar."""

    capabilities = replace(MockBackend.capabilities, formats=(".built",), builds_from=(".onnx",))

    @classmethod
    def conformance_model(cls, name, folder):
        return None

    def _build(self, source, target):
        read_onnx(source)
        name = "affine-other" if source.stem == "affine-other" else source.stem
        file = MODELS / f"{name}.mock.json"
        if not file.exists():
            raise fail(ErrorCode.UNIMPLEMENTED, f"the mock has no operation for {source}")
        shutil.copyfile(file, target)
        target.with_name(f"{target.name}.json").write_text(json.dumps({"built": os.getpid()}))

    def _load(self, path):
        model = super()._load(path)
        if not path.with_name(f"{path.name}.json").exists():
            raise fail(ErrorCode.FAILED_PRECONDITION, f"{path} has no sidecar")
        return model


class BuildsSlowly(Builder):
    def _build(self, source, target):
        time.sleep(0.7)
        super()._build(source, target)


class BuildsForever(Builder):
    def _build(self, source, target):
        time.sleep(3600)


class NotInstalled(MockBackend):
    requirement = Requirement("no_such_engine", ("no-such-engine",), "mock")


class NoDevice(MockBackend):
    """Declares a GPU, and the machine has none."""

    capabilities = replace(MockBackend.capabilities, devices=("cpu", "cuda"))

    def _load(self, path):
        raise fail(ErrorCode.UNAVAILABLE, "there is no CUDA driver")


class BuildsNowhere(Builder):
    """Builds only on a GPU, and the machine has none."""

    capabilities = replace(Builder.capabilities, devices=("cpu", "cuda"))

    def _build(self, source, target):
        raise fail(ErrorCode.UNAVAILABLE, "there is no CUDA driver")


class BuildsWrongly(BuildsNowhere):
    def _build(self, source, target):
        raise fail(ErrorCode.INTERNAL, "the builder died")


class Segfaults(MockBackend):
    def _execute(self, slot, inputs, outputs):
        sys.stderr.write("the engine's last words\n")
        sys.stderr.flush()
        ctypes.string_at(0)


class Aborts(MockBackend):
    def _load(self, path):
        os.abort()


class Killed(MockBackend):
    def _load(self, path):
        os.kill(os.getpid(), signal.SIGKILL)


class Exits(MockBackend):
    def _load(self, path):
        os._exit(3)


class RaisesSystemExit(MockBackend):
    def execute(self, request):
        sys.exit(0)


class Hangs(MockBackend):
    def _execute(self, slot, inputs, outputs):
        time.sleep(600)


class HangsWithTheGil(MockBackend):
    def _execute(self, slot, inputs, outputs):
        ctypes.PyDLL(None).sleep(600)


class CrashesOnDamage(MockBackend):
    """Crashes on a file that only the isolated checks load."""

    def _load(self, path):
        if path.parent.name.startswith(("cut", "damaged", "flipped")):
            os.abort()
        return super()._load(path)


class Prints(MockBackend):
    def _execute(self, slot, inputs, outputs):
        print("noise from the engine")
        os.write(2, b"more noise\n")
        return super()._execute(slot, inputs, outputs)
