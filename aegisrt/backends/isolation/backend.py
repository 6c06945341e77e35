"""`isolated`: a backend whose engine runs in processes of its own, one for each instance.

An engine that crashes ends its process, and not this one: the request that it ran is answered UNAVAILABLE, and a fresh
process replaces it. The same happens to one that hangs, after `isolation_timeout_ms`. A request that the dead process
cannot have begun is sent to the next one. A spare process, with the engine imported and no model loaded, is kept ready
as the next. Tensors pass through shared memory (arena.py). Weights are not shared between instances.

An engine may also be captured, by a model file say. What its process sends is data that is checked (answers.py); a
process that breaks the protocol is replaced like one that hangs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.files.snapshot import DeployedFiles, Snapshot
from aegisrt.backends.isolation.answers import ReadyMessage
from aegisrt.backends.isolation.channel import BadMessageError, LateError
from aegisrt.backends.isolation.child import Job
from aegisrt.backends.isolation.process import IsolatedProcess, ProcessDiedError
from aegisrt.core.result import ErrorCode, Result, ResultError, fail
from aegisrt.core.shown.log import Log
from aegisrt.core.tensor import Array, Signature, TensorSpec

_log = Log(__name__)
_AGAIN = "send it again, unless the request itself ends the process"
_ATTEMPTS = 3
"""How many processes a request is sent to, if each ends before it can have begun the request."""


@cache
def isolated(backend: type[RuntimeBackend[Any]]) -> type[IsolatedBackend]:
    """Return the same backend, with its engine in processes of its own."""
    same = ("kind", "capabilities", "Options", "requirement", "__doc__")
    members = {name: getattr(backend, name) for name in same}
    return type(f"Isolated{backend.__name__}", (IsolatedBackend,), {**members, "wrapped": backend})


@dataclass(slots=True, eq=False)
class _IsolatedModel:
    job: Job
    deployed: DeployedFiles
    ready: ReadyMessage
    """Of the first process; what the others answer about the model is not used."""
    specs: dict[str, TensorSpec]
    """The outputs by name."""
    first: IsolatedProcess | None
    """The process that loaded the model first and reported its signature; the first instance gets it."""
    spare: IsolatedProcess | None
    """Has imported the engine and loaded no model: it replaces the next process that dies."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Guards `spare`."""

    def next(self) -> IsolatedProcess:
        """Return the spare process, or a fresh one if there is none."""
        with self.lock:
            process, self.spare = self.spare, None
        if process is not None and process.is_alive():
            return process
        if process is not None:
            process.end()
        return IsolatedProcess(self.job)

    def restock(self) -> None:
        """Start a spare process if there is none."""
        with self.lock:
            if self.spare is None:
                self.spare = _spare(self.job)


@dataclass(slots=True, eq=False)
class _Seat:
    """One instance; its process may die and be replaced, its seat stays."""

    engine: _IsolatedModel
    process: IsolatedProcess | None


class IsolatedBackend(RuntimeBackend[Any, _IsolatedModel, _Seat]):
    """The parent's side; `isolated` creates a subclass for each backend."""

    wrapped: ClassVar[type[RuntimeBackend[Any]]]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._seats: list[_Seat] = []
        self._restarts = 0
        self._counting = threading.Lock()

    @property
    def restarts(self) -> int:
        """How many processes of this backend died, hung or broke the protocol, and were replaced."""
        return self._restarts

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that serve now, one for each instance, except for those that are being replaced."""
        return [seat.process.pid for seat in list(self._seats) if seat.process is not None]

    def build(self, source: Any, target: Any, *, progress: Callable[[str], None] | None = None) -> Result[None]:
        """As the wrapped backend's own."""
        return self._plain().build(source, target, progress=progress)

    def recipe(self) -> Result[dict[str, Any]]:
        """As the wrapped backend's own, so that both share their engine files."""
        return self._plain().recipe()

    def outdated(self, metadata: Mapping[str, Any]) -> bool:
        """As the wrapped backend's own."""
        return self._plain().outdated(metadata)

    def _plain(self) -> RuntimeBackend[Any]:
        return self.wrapped(self.options, device=self.device, stream=self.stream)

    def _load(self, path: Path) -> _IsolatedModel:
        files = Snapshot.of(path)
        known = files.known_digests()
        first = Job(self.wrapped, self.options, self.device, self.stream, path.absolute(), files, known)
        process = _started(first)
        ready = process.ready()
        deployed = DeployedFiles(files, dict(zip(files.present, ready.digests, strict=True)))
        job = replace(first, deployed=deployed, known=deployed.known_digests())
        specs = {spec.name: spec for spec in ready.signature.outputs}
        return _IsolatedModel(job, deployed, ready, specs, process, _spare(job))

    def _signature(self, engine: _IsolatedModel) -> Signature:
        return engine.ready.signature

    def _metadata(self, engine: _IsolatedModel) -> dict[str, Any]:
        return engine.ready.metadata

    def _model_metadata(self, engine: _IsolatedModel) -> dict[str, str]:
        return engine.ready.model_metadata

    def _open(self, engine: _IsolatedModel, stream: Any) -> _Seat:
        process, engine.first = engine.first or _started(engine.job), None
        seat = _Seat(engine, process)
        self._seats.append(seat)
        return seat

    def _execute(self, slot: _Seat, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Array]:
        specs = [slot.engine.specs[name] for name in outputs]
        for _ in range(_ATTEMPTS):
            process = self._living(slot)
            try:
                return process.call(inputs, specs)
            except ProcessDiedError as death:
                how = self._replace(slot, process)
                if death.may_have_begun:
                    raise process.death(_message(how), _AGAIN) from None
            except LateError:
                how = f"was ended after {self.options.isolation_timeout_ms:g} ms without an answer"
                self._replace(slot, process, how)
                break
            except BadMessageError as bad:
                how = f"was ended for an answer that is not one of this protocol ({bad})"
                self._replace(slot, process, how)
                break
        raise fail(ErrorCode.UNAVAILABLE, _message(how), _AGAIN)

    def _living(self, seat: _Seat) -> IsolatedProcess:
        """Return the seat's process when it is ready.

        UNAVAILABLE: if a fresh one dies before that.
        """
        if seat.process is not None and (seat.process.owes_answer or not seat.process.is_alive()):
            self._replace(seat, seat.process, "owed an answer" if seat.process.owes_answer else None)
        if seat.process is None:
            seat.engine.deployed.check()  # here too: a process takes seconds to start only to refuse the file
            seat.process = seat.engine.next()
        process = seat.process
        try:
            process.ready()
        except ResultError:
            seat.process = None
            if process.was_spare and process.died_loading:
                return self._living(seat)  # it died while it was a spare, and `is_alive` did not show that yet
            raise
        if seat.engine.spare is None:  # not before: two that start at once delay each other
            seat.engine.restock()
        return process

    def _replace(self, seat: _Seat, dead: IsolatedProcess, why: str | None = None) -> str:
        """Give the seat the next process, without waiting for it; return how the dead one ended.

        `why` is the reason for which it is killed; without one it has ended, or is about to.
        """
        seat.process = None
        with self._counting:
            self._restarts += 1
        if why is not None:
            dead.kill()
        try:
            seat.process = seat.engine.next()
        except OSError as error:
            _log.warning("no process could be started for %s, the next request tries again: %s", self._shown(), error)
        how = dead.end()
        _log.warning(
            "process %d of %s %s; it is replaced",
            dead.pid,
            self._shown(),
            why or how,
            model=self._model,
            engine=self.kind,
            pid=dead.pid,
            restarts=self._restarts,
        )
        return how

    def _shown(self) -> str:
        return f"model `{self._model}`" if self._model else f"a model on {self.kind}"

    def _close(self, slot: _Seat) -> None:
        self._seats.remove(slot)
        if slot.process is not None:
            slot.process.end()

    def _unload(self, engine: _IsolatedModel) -> None:
        if engine.spare is not None:
            engine.spare.kill()
            engine.spare.end()
        if engine.first is not None:
            engine.first.end()

    def _memory(self) -> int:
        loaded = self._loaded
        each = loaded.engine.ready.memory_bytes if loaded is not None else None
        if each is None:
            return super()._memory()
        return int(each) * self.instances


def _message(how: str) -> str:
    return f"the process of the model {how} while it ran the request; it is replaced"


def _spare(job: Job) -> IsolatedProcess | None:
    """Return a spare process, or None if the system cannot start one: serving goes on without."""
    try:
        process = IsolatedProcess(job)
    except OSError as error:
        _log.warning("no spare process could be started for the model: %s", error)
        return None
    process.prepare()
    return process


def _started(job: Job) -> IsolatedProcess:
    process = IsolatedProcess(job)
    process.ready()
    return process
