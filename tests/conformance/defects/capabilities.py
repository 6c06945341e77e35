"""Defects of what a backend declares."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from aegisrt.backends.base.backend import Availability
from aegisrt.backends.mock import MockBackend, MockOptions
from aegisrt.core.result import Ok
from aegisrt.core.tensor import DataType
from tests.conformance.defects.defect import defect
from tests.conformance.defects.sound import Modest, NoEmptyBatch, SoundBackend, WithoutExternalData


@defect("capabilities.well-formed", "file name endings need their dot")
class FormatsWithoutADot(MockBackend):
    capabilities = replace(MockBackend.capabilities, formats=("mock.json",))


@defect("capabilities.well-formed", "`formats` is empty")
class LoadsNothing(MockBackend):
    capabilities = replace(MockBackend.capabilities, formats=())


@defect("capabilities.well-formed", "`dtypes` are not DataTypes")
class DtypesInWords(MockBackend):
    capabilities = replace(MockBackend.capabilities, dtypes=frozenset({"FP32"}))


@defect("capabilities.well-formed", "`devices` ('cpu', 'abacus') are not among")
class UnknownDevice(MockBackend):
    capabilities = replace(MockBackend.capabilities, devices=("cpu", "abacus"))


@defect("capabilities.well-formed", "kind 'My Engine' is not an override key")
class KindWithASpace(MockBackend):
    kind = "My Engine"


@defect("capabilities.well-formed", "`Options.kind` differs from `kind`")
class OptionsOfAnotherKind(MockBackend):
    kind = "mine"


class AnythingGoes(MockOptions):
    """Options that ignore unknown fields."""

    model_config: ClassVar = {"extra": "ignore"}


@defect("capabilities.options-are-strict", "options {'no_such_option': 1} were accepted")
class IgnoresUnknownOptions(MockBackend):
    Options = AnythingGoes


class AnyKind(MockOptions):
    """Options that do not pin their kind."""

    kind: str = "mock"


@defect("capabilities.options-are-strict", "options {'kind': 'another'} were accepted")
class TakesAnyKind(MockBackend):
    Options = AnyKind


class Coercing(MockOptions):
    """Options that convert values of other types."""

    model_config: ClassVar = {"strict": False}
    device: int | str = "cpu"


@defect("capabilities.options-are-strict", "options {'device': 7} were accepted")
class CastsOptions(MockBackend):
    Options = Coercing


class Undeclaring:
    """Does more at run time than its class declares."""

    DOES: ClassVar[dict] = {}

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.capabilities = replace(self.capabilities, **self.DOES)


@defect("capabilities.undeclared-dtypes", "which is not declared: wanted UNIMPLEMENTED or INVALID_ARGUMENT, got Ok")
class TakesAnyDtype(Undeclaring, Modest):
    DOES: ClassVar = {"dtypes": frozenset(DataType) - {DataType.BF16}}


@defect(
    "capabilities.undeclared-dtypes", "which is not declared: wanted UNIMPLEMENTED or INVALID_ARGUMENT, got INTERNAL"
)
class UndeclaredDtypeIsInternal(Modest):
    def _signature(self, engine):
        signature = super()._signature(engine)
        if signature.inputs[0].dtype not in self.capabilities.dtypes:
            raise RuntimeError("no kernel for this type")
        return signature


@defect("capabilities.undeclared-dynamic-shapes", "execute of `batch`, which is not declared: wanted UNIMPLEMENTED")
class FixesDynamicShapesInSilence(Modest):
    def _signature(self, engine):
        signature = super()._signature(engine)
        inputs, outputs = (
            tuple(replace(spec, shape=tuple(dim if isinstance(dim, int) else 2 for dim in spec.shape)) for spec in side)
            for side in (signature.inputs, signature.outputs)
        )
        return replace(signature, inputs=inputs, outputs=outputs)


@defect("capabilities.undeclared-scalars", "execute of `scalar`, which is not declared: wanted UNIMPLEMENTED")
class TakesScalars(Undeclaring, Modest):
    DOES: ClassVar = {"scalars": True}


@defect("capabilities.undeclared-zero-size", "execute with no rows: wanted UNIMPLEMENTED or INVALID_ARGUMENT, got Ok")
class AnswersGarbageForNoRows(Undeclaring, NoEmptyBatch):
    DOES: ClassVar = {"zero_size": True}

    def _execute(self, slot, inputs, outputs):
        values = super()._execute(slot, inputs, outputs)
        return [value if value.size else np.ones((1, *value.shape[1:]), value.dtype) for value in values]


@defect("capabilities.undeclared-output-subset", "execute with outputs=['first']: wanted UNIMPLEMENTED, got Ok")
class AnswersASubset(Undeclaring, Modest):
    DOES: ClassVar = {"output_subset": True}


@defect("capabilities.undeclared-external-data", "execute of `external`, which is not declared: wanted UNIMPLEMENTED")
class ReadsMissingWeightsAsZeros(WithoutExternalData):
    def _build(self, source, target):
        SoundBackend._build(self, source, target)
        target.with_name("external.weights").unlink(missing_ok=True)

    def _weights(self, path, reference):
        return path

    def _execute(self, slot, inputs, outputs):
        values = super()._execute(slot, inputs, outputs)
        return [np.zeros_like(value) for value in values] if slot.external else values


@defect("capabilities.undeclared-device", "load on device cuda: wanted UNIMPLEMENTED, got Ok")
class RunsAnywhereOnTheCpu(MockBackend):
    def _check_device(self):
        pass


@defect("capabilities.undeclared-build", "build: wanted UNIMPLEMENTED, got Ok")
class BuildsNothingAndSaysOk(MockBackend):
    def build(self, source, target, *, progress=None):
        return Ok(None)


@defect("capabilities.undeclared-build", "build answered UNIMPLEMENTED and wrote a file")
class WritesAndRefuses(MockBackend):
    def build(self, source, target, *, progress=None):
        target.write_bytes(b"half")
        return super().build(source, target)


@defect("capabilities.build", "left a file")
class LeavesAHalfBuild(SoundBackend):
    def _build(self, source, target):
        target.write_bytes(b"half")
        super()._build(source, target)


@defect("capabilities.build", "of what was built: output `y` of `affine-other`")
class KeepsAnOldBuild(SoundBackend):
    def _build(self, source, target):
        if not (target.exists() and source.stem == "affine-other"):
            super()._build(source, target)


@defect("capabilities.build", "build from broken.onnx: wanted DATA_LOSS, got Ok")
class BuildsFromABrokenSource(SoundBackend):
    def _build(self, source, target):
        if source.name != "broken.onnx":
            super()._build(source, target)


@defect("capabilities.build", "load of what was built: wanted Ok, got NOT_FOUND")
class BuildsElsewhere(SoundBackend):
    def _build(self, source, target):
        elsewhere = target.with_suffix(".engine") if target.parent.name.startswith("check-") else target
        super()._build(source, elsewhere)


@defect("capabilities.external-data", "load without the weights: wanted NOT_FOUND")
class MissesNoWeights(SoundBackend):
    def _load(self, path):
        weights = path.with_name("external.weights")
        missing = not weights.exists()
        if missing:
            weights.write_bytes(bytes(48))
        try:
            return super()._load(path)
        finally:
            if missing:
                weights.unlink()


@defect("capabilities.external-data", "load of a copy with its weights: wanted Ok, got NOT_FOUND")
class RemembersWhereTheWeightsWere(SoundBackend):
    def _weights(self, path, reference):
        return path.parents[1] / "external" / "external.weights"


@defect("capabilities.well-formed", "it runs, but `availability()` reports that it does not")
class IsAvailableInWords(MockBackend):
    @classmethod
    def availability(cls, *, probe=False):
        return Availability("yes")
