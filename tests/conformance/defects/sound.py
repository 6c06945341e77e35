"""Correct backends that declare what the mock does not. They pass the kit, and defects are their subclasses."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.files.readable import known_format
from aegisrt.backends.mock import MockBackend
from aegisrt.conformance.references.models import REFERENCES, PowerReference
from aegisrt.conformance.references.supply import MODELS
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.options import BackendOptions
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import DataType

MAGIC = b"SOUND/1\n"
DEVICE_MEMORY = "AEGISRT_TESTS_DEVICE_MEMORY"
"""Names the file that says how many MiB of the pretended device are in use; the `nvidia-smi` of the tests reads it."""


class SoundOptions(BackendOptions):
    """Options of a correct backend."""

    kind: Literal["sound"] = "sound"


class SoundBackend(RuntimeBackend):
    """Builds a file from a reference model, with external weights too, and computes as the kit's reference does."""

    kind = "sound"
    Options: ClassVar = SoundOptions
    capabilities = Capabilities(
        formats=(".sound",),
        builds_from=(".onnx",),
        dtypes=frozenset(DataType) - {DataType.BF16},
        dynamic_shapes=True,
        zero_size=True,
        scalars=True,
        external_data=True,
    )

    def _build(self, source, target):
        reference = self._reference_of(source)
        if reference.external:
            shutil.copyfile(
                source.with_name(f"{reference.name}.weights"), target.with_name(f"{reference.name}.weights")
            )
        body = json.dumps({"model": reference.name, "padding": "." * 400}).encode()
        fresh = target.with_name(f".{target.name}.new")
        fresh.write_bytes(MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        fresh.replace(target)

    def _reference_of(self, source):
        content = source.read_bytes()
        for name, reference in REFERENCES.items():
            if (MODELS / f"{name}.onnx").read_bytes() == content:
                return reference
        raise fail(ErrorCode.DATA_LOSS, f"{source} is no reference model, or a damaged one")

    def _load(self, path):
        content = path.read_bytes()
        if not content.startswith(MAGIC):
            raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} is {known_format(path) or 'no such model'}")
        digest, _, body = content.removeprefix(MAGIC).partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != digest:
            raise fail(ErrorCode.DATA_LOSS, f"{path} is damaged")
        reference = REFERENCES[json.loads(body)["model"]]
        if reference.external and not self._weights(path, reference).is_file():
            raise fail(ErrorCode.NOT_FOUND, f"the weights of {path} are not beside it")
        return reference

    def _weights(self, path, reference):
        return path.with_name(f"{reference.name}.weights")

    def _signature(self, engine):
        return engine.signature

    def _execute(self, slot, inputs, outputs):
        if any(isinstance(operation, PowerReference) for operation in slot.operations.values()):
            time.sleep(0.06)
        with np.errstate(all="ignore"):
            goldens = slot.goldens(inputs)
        return [goldens[name] for name in outputs]


class WithBf16(MockBackend):
    """The mock, with the one dtype that it does not declare."""

    capabilities = replace(MockBackend.capabilities, dtypes=frozenset(DataType))


class Modest(MockBackend):
    """The mock, with one dtype and nothing optional."""

    capabilities = Capabilities(
        formats=(".mock.json",), dtypes=frozenset({DataType.FP32, DataType.INT32}), output_subset=False
    )


class NoEmptyBatch(MockBackend):
    """The mock, without tensors of no elements."""

    capabilities = replace(MockBackend.capabilities, zero_size=False)


class WithoutExternalData(SoundBackend):
    """Refuses a model with its weights beside it."""

    capabilities = replace(SoundBackend.capabilities, external_data=False)

    def _build(self, source, target):
        if self._reference_of(source).external:
            raise fail(ErrorCode.UNIMPLEMENTED, "weights beside the model are not read")
        super()._build(source, target)


class OnGpu(MockBackend):
    """The mock, with memory of a simulated device for each loaded model."""

    capabilities = replace(MockBackend.capabilities, devices=("cuda",))
    MODEL_MIB = 8

    def _load(self, path):
        engine = super()._load(path)
        self._hold(self.MODEL_MIB)
        return engine

    def _unload(self, engine):
        self._hold(-self.MODEL_MIB)

    def _hold(self, mib):
        with Path(os.environ[DEVICE_MEMORY]).open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            used = int(file.read()) + mib
            file.seek(0)
            file.truncate()
            file.write(str(used))
