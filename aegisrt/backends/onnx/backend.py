"""`ONNXBackend`: ONNX models on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.onnx.cuda_binding import runs_bound
from aegisrt.backends.onnx.cuda_sessions import CudaSessions, cuda_settings, open_on_gpu, preload, quiet
from aegisrt.backends.onnx.cuda_slot import OrtCudaSlot
from aegisrt.backends.onnx.errors import execute_error, is_from_engine, load_error
from aegisrt.backends.onnx.optimized import optimized_model
from aegisrt.backends.onnx.options import ONNXOptions, optimized_path, session_options
from aegisrt.backends.onnx.providers import CPU, CUDA, Chosen, choose, refuse_fallback
from aegisrt.backends.onnx.signature import check_free_dimensions, session_metadata, session_signature
from aegisrt.backends.onnx.tensors import Conversion
from aegisrt.backends.onnxruntime import DISTRIBUTIONS, NO_TELEMETRY
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.optional import Requirement, require
from aegisrt.core.options import BackendOptions
from aegisrt.core.result import Error, ResultError
from aegisrt.core.shown.log import Log
from aegisrt.core.tensor import Array, DataType, DeviceView, Signature
from aegisrt.devices.cuda.arrays import arrays_on
from aegisrt.devices.cuda.stream import CudaStream

_log = Log(__name__)


@dataclass(slots=True, eq=False)
class _LoadedSessions:
    session: Any
    """An `onnxruntime.InferenceSession`; its `run` may be called by several threads at once."""
    run: Any
    """The session's own call (`direct_run`), or `Conversion.run`: `(outputs, inputs) -> values`."""
    signature: Signature
    metadata: dict[str, Any]
    sessions: CudaSessions | None = None
    """On a GPU: opens a session for each instance."""
    bound: bool = False
    """Whether the instances bind memory on the GPU instead of calling `run`."""


class _OrtSlot(Protocol):
    """One instance of a loaded model."""

    def call(self, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Any]:
        """Return the values of `outputs`, in that order."""

    def close(self) -> None:
        """Release what the instance holds."""


@dataclass(slots=True, eq=False)
class _SharedSession:
    """An instance that has nothing of its own: all of them run the one session of the model."""

    loaded: _LoadedSessions

    def call(self, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Any]:
        return self.loaded.run(outputs, inputs)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Do nothing: `_unload` drops the session."""


class ONNXBackend(RuntimeBackend[ONNXOptions, _LoadedSessions, _OrtSlot]):
    """Runs ONNX (`.onnx`, weights inside or beside) and ORT-format (`.ort`) models.

    On the CPU all instances share one session; on a GPU each has its own, on a stream of its own.

    Results hold arrays that ONNX Runtime allocated for this call alone, and that stay valid after `unload`. The whole
    graph is computed, whichever outputs are requested. Outputs that are not tensors (sequences, maps) are not served:
    the signature names them in `omitted`. A weight that is also declared as an input is an optional input.

    ONNX Runtime's official builds send telemetry to Microsoft. Here they send none, unless `ORT_DISABLE_TELEMETRY=0` is
    set or the program imported `onnxruntime` earlier.

    ONNX Runtime before 1.26 is refused, because this project's tests fail on it: 1.25.1 fails on an input that is also
    an output; 1.20.1 fails on weights outside the model's folder, and an integer division by zero ends its process.
    """

    kind = "onnx"
    Options: ClassVar[type[BackendOptions]] = ONNXOptions
    requirement = Requirement(
        "onnxruntime",
        DISTRIBUTIONS,
        "onnx",
        minimum=(1, 26),
        no_telemetry=NO_TELEMETRY,
    )
    doctor = "aegisrt.backends.onnx.installation:OrtInstallation"
    capabilities = Capabilities(
        devices=("cpu", "cuda"),
        formats=(".onnx", ".ort"),
        dtypes=frozenset(DataType),
        dynamic_shapes=True,
        zero_size=True,
        scalars=True,
        external_data=True,
    )

    @property
    def session(self) -> Any:
        """The open `onnxruntime.InferenceSession`, to measure or inspect; None if nothing is loaded."""
        loaded = self._loaded
        return loaded.engine.session if loaded else None

    def _load(self, path: Path) -> _LoadedSessions:
        ort = require(self.requirement)
        requested = choose(ort, self.options, self.device, self._model)
        metadata: dict[str, Any] = {"engine": f"onnxruntime {ort.__version__}"}
        if self.device.kind == "cuda":
            preload(ort)
        on_gpu = self.device.kind == "cuda" and CUDA in requested
        sessions = self._sessions(ort, path, requested, metadata) if on_gpu else None
        session = open_on_gpu(sessions) if sessions is not None else self._session(ort, path, requested)
        try:
            signature = session_signature(session, path)
            check_free_dimensions(self.options.free_dimensions, path)
            conversion = Conversion(ort, signature)
        except BaseException:
            with _on_gpu(sessions):
                del session
            if sessions is not None:
                sessions.close()
            raise
        run = partial(conversion.run, session) if conversion.needed else direct_run(session)
        metadata["providers"] = tuple(session.get_providers())
        bound = sessions is not None and CUDA in metadata["providers"] and runs_bound(signature)
        if sessions is not None and not bound:
            run = partial(_run_on_gpu, sessions, run)
        return _LoadedSessions(session, run, signature, metadata, sessions, bound)

    def _sessions(self, ort: Any, path: Path, requested: Chosen, metadata: dict[str, Any]) -> CudaSessions:
        def open_session(stream: CudaStream, *, graph: bool) -> Any:
            settings = cuda_settings(self.options, stream, graph=graph)
            falls_back = not graph and CUDA not in metadata.get("providers", ())
            providers = {**requested, CUDA: {**settings, **requested[CUDA]}}
            return self._session(ort, path, providers, falls_back=falls_back)

        return CudaSessions(open_session, self.device, self.stream, self.options.cuda_graph, metadata)

    def _session(self, ort: Any, path: Path, requested: Chosen, *, falls_back: bool = True) -> Any:
        """Return a session; on the CPU if it does not load on the GPU and both `falls_back` and the options allow that.

        `falls_back` is False for a session that is to be recorded, because it is opened without a recording first, and
        for every instance after the first, because all run on the provider of the first.
        """
        ours = self.options if falls_back else self.options.model_copy(update={"fallback": "forbid"})
        options = session_options(ort, self.options, self.device, path, cpu_is_named=CPU in requested)
        try:
            session = _open(ort, path, requested, options, optimized_path(self.options, path))
        except (MemoryError, ResultError):
            raise
        except Exception as error:
            if ours.fallback == "forbid" or tuple(requested) == (CPU,):
                raise ResultError(load_error(error, path)) from error
            names = ", ".join(requested)
            _log.warning(
                "%s does not load on %s, and runs on the CPU: %s",
                path,
                names,
                error,
                model=self._model,
                engine=self.kind,
            )
            return self._session(ort, path, {CPU: {}})
        refuse_fallback(tuple(requested), session.get_providers(), ours, self._model)
        return session

    def _signature(self, engine: _LoadedSessions) -> Signature:
        return engine.signature

    def _metadata(self, engine: _LoadedSessions) -> dict[str, Any]:
        return engine.metadata

    def _model_metadata(self, engine: _LoadedSessions) -> dict[str, str]:
        return session_metadata(engine.session)

    def _device_view(self, engine: _LoadedSessions) -> DeviceView | None:
        return arrays_on(self.device.ordinal) if engine.bound else None

    def _open(self, engine: _LoadedSessions, stream: Any) -> _OrtSlot:
        if engine.sessions is None or not engine.bound:
            return _SharedSession(engine)
        return OrtCudaSlot(require(self.requirement), engine.sessions, engine.signature, self.options)

    def _close(self, slot: _OrtSlot) -> None:
        slot.close()

    def _execute(self, slot: _OrtSlot, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Any]:
        return slot.call(inputs, outputs)

    def _unload(self, engine: _LoadedSessions) -> None:
        session = engine.session
        engine.session = engine.run = None
        try:
            if self.options.profile_folder is not None:
                session.end_profiling()
        finally:
            with _on_gpu(engine.sessions):
                del session
            if engine.sessions is not None:
                engine.sessions.close()

    def _classify(self, error: Exception) -> Error | None:
        return execute_error(error) if is_from_engine(error) else None


def direct_run(session: Any) -> Callable[[tuple[str, ...], dict[str, Array]], Sequence[Any]]:
    """Return the call of a session, without the checks that `InferenceSession.run` makes first, in Python.

    They repeat `InputCheck`, for a quarter of the time of a small model's call: that no input is missing, and that no
    `OrtValue` is of another session (onnxruntime_inference_collection.py of 1.32). The fallback to other providers
    behind them is off (`enable_fallback=0`). If `_sess`, the compiled session, has another name: `session.run`.
    """
    run = getattr(getattr(session, "_sess", None), "run", None)
    return session.run if run is None else lambda outputs, inputs: run(outputs, inputs, None)


def _on_gpu(sessions: CudaSessions | None) -> AbstractContextManager[Any]:
    return nullcontext() if sessions is None else sessions.context.unless_lost()


def _run_on_gpu(sessions: CudaSessions, run: Any, outputs: tuple[str, ...], inputs: dict[str, Array]) -> Any:
    with sessions.context:
        return run(outputs, inputs)


def _open(ort: Any, path: Path, providers: Chosen, options: Any, optimized: Path | None) -> Any:
    """Return an `InferenceSession`; write the optimized model to `optimized`, if it is a path.

    `enable_fallback=0`, or ONNX Runtime replaces a provider that fails by another one and prints that to stdout.
    """
    silent = quiet(ort, options.log_severity_level) if CUDA in providers else nullcontext()
    with optimized_model(optimized) as written, silent:
        if written is not None:
            options.optimized_model_filepath = str(written)
        return ort.InferenceSession(str(path), options, providers=list(providers.items()), enable_fallback=0)
