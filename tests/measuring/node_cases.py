"""The ONNX project's own cases, one operator each, on the bare engines and through this package; prints a table.

    python -m tests.measuring.node_cases [--every 10] [--match relu] [--engine tvm] [--limit 60] [--json FILE]

Each case runs in a process of its own, forked once the engines are imported: some kill it.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aegisrt import ExecutionRequest, ONNXBackend, RuntimeBackend, TVMBackend

Answer = Sequence[Any]
STATES = ("passed", "wrong", "refused", "died", "hung")
"""What a case came to: the right answer; another one; an error; the process's death; no end in time."""


def through(backend: RuntimeBackend[Any], model: Any, inputs: Sequence[Any]) -> Answer:
    """Return what the backend answers, after a build where it needs one."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        file.write_bytes(model.SerializeToString())
        if backend.capabilities.builds_from:
            library = file.with_suffix(backend.capabilities.formats[0])
            backend.build(file, library).unwrap()
            file = library
        backend.load(file).unwrap()
        names = [spec.name for spec in backend.signature.inputs]  # type: ignore[union-attr]
        request = ExecutionRequest(inputs=dict(zip(names, inputs, strict=True)))
        return list(backend.execute(request).unwrap().outputs.values())


def bare_tvm(model: Any, inputs: Sequence[Any]) -> Answer:
    """Return what TVM answers by itself."""
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    executable = tvm.compile(from_onnx(model), tvm.target.Target({"kind": "llvm"}))
    machine = relax.VirtualMachine(executable, tvm.cpu())
    answer = machine["main"](*(tvm.runtime.tensor(np.asarray(value, order="C")) for value in inputs))
    values = [answer] if hasattr(answer, "numpy") else list(answer)
    return [value.numpy() if hasattr(value, "numpy") else np.asarray(value) for value in values]


def bare_onnxruntime(model: Any, inputs: Sequence[Any]) -> Answer:
    """Return what ONNX Runtime answers by itself."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    answer: Answer = session.run(None, dict(zip(names, inputs, strict=True)))
    return answer


ENGINES: dict[str, Callable[[Any, Sequence[Any]], Answer]] = {
    "bare tvm": bare_tvm,
    "tvm": lambda model, inputs: through(TVMBackend(), model, inputs),
    "bare onnxruntime": bare_onnxruntime,
    "onnx": lambda model, inputs: through(ONNXBackend(), model, inputs),
}


def judge(engine: str, case: Any) -> str:
    """Return `passed`, `wrong: ...` or `refused: ...` for a case in this process."""
    for inputs, expected in (tuple(map(_arrays, data)) for data in case.data_sets):
        try:
            got = ENGINES[engine](case.model, inputs)
        except Exception as error:  # noqa: BLE001  (whatever an engine raises is a refusal)
            return f"refused: {str(error)[:300]}"
        problem = difference(got, expected, case)
        if problem:
            return f"wrong: {problem}"
    return "passed"


def _arrays(values: Sequence[Any]) -> list[Any]:
    """Return the values with tensors in protobuf's form made arrays."""
    from onnx import TensorProto, numpy_helper

    return [numpy_helper.to_array(value) if isinstance(value, TensorProto) else value for value in values]


def difference(got: Answer, expected: Sequence[Any], case: Any) -> str | None:
    """Return what differs, or None; a sequence is compared item by item, as the ONNX project does."""
    if len(got) != len(expected):
        return f"{len(got)} outputs, not {len(expected)}"
    for index, (value, want) in enumerate(zip(got, expected, strict=True)):
        if isinstance(want, list):
            problem = difference(value, want, case) if isinstance(value, list) else "no sequence"
        else:
            problem = _unlike(np.asarray(value), np.asarray(want), case)
        if problem:
            return f"output {index}: {problem}"
    return None


def _unlike(value: Any, want: Any, case: Any) -> str | None:
    if (value.dtype, value.shape) != (want.dtype, want.shape):
        return f"{value.dtype}{value.shape}, not {want.dtype}{want.shape}"
    try:
        if want.dtype.kind in "OSUb":
            np.testing.assert_array_equal(value, want)
        else:
            wide = (item.astype(np.float64) if item.dtype.kind == "V" else item for item in (value, want))
            np.testing.assert_allclose(*wide, rtol=case.rtol, atol=case.atol)
    except AssertionError as error:
        return " ".join(str(error).split())[:200]
    return None


def judge_in_child(engine: str, case: Any, limit_s: float = 120.0) -> str:
    """Return the verdict of a case, run in a forked process: one of `STATES`, and a colon with its output."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    process = fork.Process(target=_judge_quietly, args=(engine, case, theirs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, which only wait here
        process.start()
    theirs.close()
    try:
        verdict: str = ours.recv() if ours.poll(limit_s) else "hung"
    except EOFError:
        process.join()
        verdict = f"died: exit code {process.exitcode}"
    finally:
        process.kill()
        process.join()
        ours.close()
    return verdict


def _judge_quietly(engine: str, case: Any, pipe: Any) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    warnings.simplefilter("ignore")
    pipe.send(judge(engine, case))


def import_engines() -> None:
    """Import the engines, so that no child need do it."""
    for module in ("tvm", "tvm.relax.frontend.onnx", "onnxruntime"):
        __import__(module)


def cases(match: str = "", every: int = 1, limit: int | None = None) -> list[Any]:
    """Return the ONNX project's cases of single operators, by name."""
    from onnx.backend.test.loader import load_node_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = sorted((case for case in load_node_model_tests() if match in case.name), key=lambda case: case.name)
    return found[::every][:limit]


def table(verdicts: dict[str, dict[str, str]]) -> str:
    """Return a Markdown table: one line for each engine, with the number of cases of each verdict."""
    lines = [f"| engine | cases | {' | '.join(STATES)} |", f"| --- | --- |{' --- |' * len(STATES)}"]
    for engine, found in verdicts.items():
        counts = collections.Counter(verdict.partition(":")[0] for verdict in found.values())
        lines.append(f"| {engine} | {len(found)} | {' | '.join(str(counts[state]) for state in STATES)} |")
    return "\n".join(lines)


def main() -> None:
    """Judge the requested cases, and print a table of the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--match", default="", help="only cases with this in their name")
    parser.add_argument("--every", type=int, default=1, help="only each so-many-th case")
    parser.add_argument("--limit", type=int, help="at most so many cases")
    parser.add_argument("--engine", action="append", choices=list(ENGINES), help="may be repeated; all by default")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every verdict, or go on with it")
    arguments = parser.parse_args()
    import_engines()
    chosen, engines = cases(arguments.match, arguments.every, arguments.limit), arguments.engine or list(ENGINES)
    verdicts = _begun(arguments.json, engines)
    for index, case in enumerate(chosen):
        for engine in engines:
            if case.name not in verdicts[engine]:
                verdicts[engine][case.name] = judge_in_child(engine, case)
        sys.stderr.write(f"\r{index + 1} of {len(chosen)} {case.name:<60}"[:90])
        if arguments.json and (index % 20 == 0 or index + 1 == len(chosen)):
            arguments.json.write_text(json.dumps(verdicts, indent=1), encoding="utf-8")
    sys.stderr.write("\n")
    print(table(verdicts))


def _begun(file: Path | None, engines: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the verdicts by engine that an interrupted run has written."""
    known = json.loads(file.read_text(encoding="utf-8")) if file and file.is_file() else {}
    return {engine: known.get(engine, {}) for engine in engines}


if __name__ == "__main__":
    main()
