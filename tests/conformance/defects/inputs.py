"""Defects of inputs."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import numpy as np

from aegisrt.backends.mock import MockBackend
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import ErrorCode, fail
from tests.conformance.defects.defect import defect
from tests.conformance.defects.seams import Altering, Answering, Lenient, Unchecked


def zeros(spec):
    return np.zeros([dim if isinstance(dim, int) else 1 for dim in spec.shape], spec.dtype.numpy)


@defect("inputs.unknown-name", "an unknown input name: wanted INVALID_ARGUMENT, got Ok")
class TakesOneInputUnderAnyName(Lenient):
    def take(self, inputs, signature):
        return dict(zip((spec.name for spec in signature.inputs), inputs.values(), strict=True))


@defect("inputs.unknown-name", "the error does not name `z`")
class DoesNotNameTheInput(Answering):
    def refuse(self, error):
        return replace(error, message="bad input", hint=None)


@defect("inputs.missing", "no inputs at all: wanted INVALID_ARGUMENT, got Ok")
class FillsInZeros(Lenient):
    def take(self, inputs, signature):
        return {spec.name: zeros(spec) for spec in signature.inputs} | dict(inputs)


@defect("inputs.missing", "without input `left`: wanted INVALID_ARGUMENT, got Ok")
class RunsOnTheLastCallsInput(Lenient):
    last = {}  # noqa: RUF012

    def take(self, inputs, signature):
        if inputs:
            self.last = {**self.last, **inputs}
        return {name: self.last[name] for name in (spec.name for spec in signature.inputs)} if inputs else inputs

    def _make(self, path):
        loaded = super()._make(path)
        self.last = {spec.name: zeros(spec) for spec in loaded.signature.inputs}
        return loaded


@defect("inputs.extra", "one input too many: wanted INVALID_ARGUMENT, got Ok")
class DropsWhatItDoesNotKnow(Lenient):
    def take(self, inputs, signature):
        known = {spec.name for spec in signature.inputs}
        return {name: value for name, value in inputs.items() if name in known} if set(inputs) > known else inputs


class Converting(Lenient):
    """Passes each input that is an array through `convert`, with its tensor's spec."""

    def take(self, inputs, signature):
        specs = {spec.name: spec for spec in signature.inputs}
        return {name: self.convert(value, specs[name]) if name in specs else value for name, value in inputs.items()}

    def convert(self, value, spec):
        return value


@defect("inputs.wrong-dtype", "a float64 input: wanted INVALID_ARGUMENT, got Ok")
class CastsInputs(Converting):
    def convert(self, value, spec):
        return value.astype(spec.dtype.numpy)


@defect("inputs.wrong-dtype", "a int32 input: wanted INVALID_ARGUMENT, got Ok")
class ReadsAnyFourBytes(Converting):
    def convert(self, value, spec):
        same = value.dtype.itemsize == spec.dtype.numpy.itemsize and value.dtype.kind in "iuf"
        return value.view(spec.dtype.numpy) if same else value


@defect("inputs.wrong-rank", "shape (1, 2, 3): wanted INVALID_ARGUMENT, got Ok")
class DropsDimensionsOfOne(Converting):
    def convert(self, value, spec):
        return np.squeeze(value)


@defect("inputs.wrong-rank", "shape (3,): wanted INVALID_ARGUMENT, got Ok")
class BroadcastsInputs(Converting):
    def convert(self, value, spec):
        return np.broadcast_to(value, spec.shape) if value.ndim < 2 and value.size == spec.shape[-1] else value


@defect("inputs.wrong-dimension", "shape (3, 2): wanted INVALID_ARGUMENT, got Ok")
class CountsElementsOnly(Converting):
    def convert(self, value, spec):
        return value.reshape(spec.shape) if value.ndim == len(spec.shape) and value.size == 6 else value


@defect("inputs.wrong-dimension", "shape (4, 3): wanted INVALID_ARGUMENT, got Ok")
class TakesTheFirstRows(Converting):
    def convert(self, value, spec):
        return value[: spec.shape[0]]


@defect("inputs.empty-for-static", "shape (0, 3): wanted INVALID_ARGUMENT, got Ok")
class TakesNothingForSomething(Converting):
    def convert(self, value, spec):
        return value if value.size else zeros(spec)


@defect("inputs.not-arrays", "a list as input: wanted INVALID_ARGUMENT, got Ok")
class TakesLists(Converting):
    def convert(self, value, spec):
        return np.asarray(value, spec.dtype.numpy) if isinstance(value, list) else value


@defect("inputs.not-arrays", "a MaskedArray as input: wanted INVALID_ARGUMENT, got Ok")
class LosesMasks(Converting):
    def convert(self, value, spec):
        return np.asarray(value) if isinstance(value, np.ma.MaskedArray) else value


@defect("inputs.not-a-request", "execute(dict): wanted INVALID_ARGUMENT, got Ok")
class TakesADictForARequest(Answering):
    def ask(self, request):
        return ExecutionRequest(inputs=request) if isinstance(request, dict) else request


@defect("inputs.not-a-request", "an exception was raised instead of a returned Result: AttributeError")
class ExpectsARequest(Answering):
    def ask(self, request):
        return ExecutionRequest(inputs=request.inputs, outputs=request.outputs, timeout_ms=request.timeout_ms)


@defect("inputs.order-of-names", "inputs given in the order ['count', 'left', 'right']")
class TakesInputsByPosition(Lenient):
    """Takes inputs of one shape by position."""

    def take(self, inputs, signature):
        names = [spec.name for spec in signature.inputs]
        if set(inputs) != set(names):
            return inputs
        ranked = sorted(names, key=lambda name: (inputs[name].shape, names.index(name)))
        given = sorted(inputs, key=lambda name: inputs[name].shape)
        return {name: inputs[other] for name, other in zip(ranked, given, strict=True)}


class Reading(Unchecked):
    """Passes each input through `read`; the engine computes with the result."""

    def take(self, inputs, signature):
        return {spec.name: self.read(inputs[spec.name]) for spec in signature.inputs}

    def read(self, value):
        return value


@defect("inputs.non-contiguous", "an input that is transposed: output `y` of `affine`")
class ReadsMemoryOrder(Reading):
    def read(self, value):
        return value.ravel(order="K").reshape(value.shape)


@defect("inputs.non-contiguous", "an input that is every second element: wanted Ok, got INVALID_ARGUMENT")
class RefusesStrides(Reading):
    def read(self, value):
        if not value.flags.c_contiguous:
            raise fail(ErrorCode.INVALID_ARGUMENT, "inputs must be contiguous")
        return value


@defect("inputs.big-endian", "an input that is other byte order: output `y` of `affine`")
class IgnoresTheByteOrder(Reading):
    def read(self, value):
        return value if value.dtype.hasobject else value.view(value.dtype.newbyteorder("="))


@defect("inputs.big-endian", "FP16 in the other byte order: output `y` of `identity-fp16`")
class SwapsWideTypesOnly(Reading):
    def read(self, value):
        narrow = value.dtype.itemsize <= 2
        return value.view(value.dtype.newbyteorder("=")) if narrow else value.astype(value.dtype.newbyteorder("="))


@defect("inputs.read-only", "an input that is read-only: wanted Ok, got INTERNAL")
class ExportsByDlpack(Reading):
    """Refuses read-only arrays, which numpy before 2.1 did not export."""

    def read(self, value):
        if not value.flags.writeable:
            raise BufferError("Cannot export readonly array since signalling readonly is unsupported by DLPack")
        return value


@defect("inputs.unaligned", "the process died of SIGSEGV: in `read` at inputs.py")
class FaultsOnUnaligned(Reading):
    def read(self, value):
        if value.ctypes.data % value.dtype.alignment:
            os.kill(os.getpid(), signal.SIGSEGV)
        return value


@defect("inputs.unaligned", "an input that is 4 bytes past a 64-byte boundary: output `y` of `affine`")
class LoadsWholeVectors(MockBackend):
    """Rounds addresses down to 16 bytes, as some vector loads do; the base class aligns to the element only."""

    def _execute(self, slot, inputs, outputs):
        off = {name: value.ctypes.data % 16 // (value.dtype.itemsize or 1) for name, value in inputs.items()}
        moved = {name: np.roll(value, off[name]) if off[name] else value for name, value in inputs.items()}
        return super()._execute(slot, moved, outputs)


@defect("inputs.zero-size", "execute with zero rows: wanted Ok, got INTERNAL")
class DividesByTheSize(MockBackend):
    def _execute(self, slot, inputs, outputs):
        assert all(1 // value.size >= 0 for value in inputs.values())
        return super()._execute(slot, inputs, outputs)


@defect("inputs.zero-size", "wanted shape [0,3], got [1,3]")
class AnswersOneRowForNone(Altering):
    def alter(self, value):
        return value if value.size else np.zeros((1, *value.shape[1:]), value.dtype)


@defect("inputs.scalars", "wanted shape [], got [1]")
class MakesScalarsRankOne(Altering):
    def alter(self, value):
        return np.ascontiguousarray(value)


@defect("inputs.scalars", "an array of one element for a scalar: wanted INVALID_ARGUMENT, got Ok")
class TakesOneElementForAScalar(Converting):
    def convert(self, value, spec):
        return value.reshape(()) if spec.shape == () else value


@defect("inputs.not-modified", "`affine`: input `x` was written to")
class ComputesInPlace(MockBackend):
    def _execute(self, slot, inputs, outputs):
        results = super()._execute(slot, inputs, outputs)
        for value in inputs.values():
            if value.flags.writeable:
                value *= 2
        return results


@defect("inputs.not-modified", "`affine`: input `x` was replaced in the caller's mapping")
class ConvertsInTheMapping(Answering):
    def ask(self, request):
        for name, value in request.inputs.items():
            request.inputs[name] = value.copy()
        return request


@defect("inputs.not-modified", "`multi-io`: the mapping of inputs was changed")
class SortsTheMapping(Answering):
    def execute(self, request):
        result = super().execute(request)
        for name in sorted(request.inputs):
            request.inputs[name] = request.inputs.pop(name)
        return result
