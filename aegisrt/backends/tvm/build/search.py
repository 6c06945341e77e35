"""`search`: the worker of a tuning run: generates candidates of code, times them, and records the times.

`python -m aegisrt.backends.tvm.build.search JOB ANSWER`. A random schedule can hang LLVM or kill the process, so the
compiler watches this process, kills it if needed and starts another, which continues from the records: TVM's own JSON
database
(https://tvm.apache.org/docs/deep_dive/tensor_ir/tutorials/meta_schedule.html).
"""

from __future__ import annotations

import importlib
import json
import math
import platform
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from aegisrt.backends.process.child import child_main, is_out_of_memory, report_progress
from aegisrt.backends.tvm.build.schedules import schedules

_ROUND = 8
"""Candidates of one task before the next task's turn; the next round starts from the best of the last."""
_BY_HAND = 16
"""Schedules written by hand that are measured for one task, at most."""
_POPULATION = 32
_MEASURED_MS, _REPEATS = 5, 4
_LARGE_BYTES, _CACHE_BYTES = 1 << 19, 1 << 23
"""Arguments of at least the first size change from call to call, and together take the second size, which is more
than the second level of cache of today's processors."""
_FILES = ("workloads.json", "records.json")


@dataclass(slots=True, eq=False)
class Task:
    """One function to be tuned, and the state of its search."""

    name: str
    context: Any
    workload: Any
    done: int
    best_us: float = float("inf")


@dataclass(slots=True, eq=False)
class Search:
    """The state that all tasks share."""

    database: Any
    target: Any
    trials: int
    """For each task."""
    total: int
    done: int = 0

    def report(self, text: str) -> None:
        """Report the progress of the search."""
        report_progress(f"tuning {self.done} of {self.total}: {text}")


def search(job: dict[str, Any]) -> dict[str, Any]:
    """Search for each task of the job; the results are in the records, the answer is empty."""
    import tvm
    from tvm.target import Target

    _import_intrinsics()
    trials = job["trials"]
    run = Search(open_records(Path(job["records"])), Target(job["target"]), trials, trials * len(job["tasks"]))
    waiting = []
    for index, (name, text) in enumerate(job["tasks"].items()):
        module = tvm.ir.load_json(text)
        done = min(trials, count_records(run.database, module))
        run.done += done
        if done < trials:
            context = _context(module, run.target, name, job["seed"] + index, evolve=job["evolve"])
            waiting.append(Task(name, context, run.database.commit_workload(module), done))
    for task in waiting:
        _start(task, run)
    while waiting:
        waiting = [task for task in waiting if _round(task, run)]
    return {}


def _import_intrinsics() -> None:
    """Import the vector instructions of this processor; TVM would import those of every device, which takes 20 s."""
    import tvm.s_tir

    name = "tvm.s_tir.tensor_intrin"
    package = types.ModuleType(name)
    package.__path__ = [str(Path(tvm.s_tir.__file__).parent / "tensor_intrin")]
    sys.modules[name] = package
    importlib.import_module(f"{name}.x86" if platform.machine() in ("x86_64", "AMD64") else f"{name}.arm_cpu")


def open_records(folder: Path) -> Any:
    """Return the database of a folder; drop a last line that a killed worker left half written.

    Records that TVM cannot read, damaged ones or those of another version, are deleted: a search can be repeated.
    """
    from tvm.s_tir import meta_schedule as ms

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in _FILES]
    for file in files:
        _drop_half_line(file)
    try:
        return ms.database.JSONDatabase(*map(str, files))
    except Exception as error:  # the files may hold anything
        if is_out_of_memory(error):
            raise
        print(f"the records in {folder} cannot be read and are deleted: {error}")
        for file in files:
            file.unlink()
        return ms.database.JSONDatabase(*map(str, files))


def count_records(database: Any, module: Any) -> int:
    """Return the number of measured candidates of a task."""
    if not database.has_workload(module):
        return 0
    workload = database.commit_workload(module)
    return len(database.get_top_k(workload, 1_000_000))


def _drop_half_line(path: Path) -> None:
    whole = b""
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        try:
            json.loads(line)
        except ValueError:
            break
        whole += line if line.endswith(b"\n") else line + b"\n"
    path.write_bytes(whole)


def _context(module: Any, target: Any, name: str, seed: int, *, evolve: bool) -> Any:
    """Return TVM's search for one task: from the best so far, or at random, which finds candidates faster."""
    from tvm.s_tir import meta_schedule as ms

    strategy = ms.search_strategy.ReplayTrace()
    if evolve:
        strategy = ms.search_strategy.EvolutionarySearch(
            population_size=_POPULATION, init_measured_ratio=0.5, init_min_unmeasured=_ROUND, genetic_num_iters=2
        )
    return ms.TuneContext(
        mod=module,
        target=target,
        space_generator="post-order-apply",
        search_strategy=strategy,
        task_name=name,
        rand_state=seed + 1,
        num_threads=1,
    ).clone()


def _start(task: Task, run: Search) -> None:
    """Measure the schedules written by hand, then start TVM's search from the best of them."""
    from tvm.s_tir import meta_schedule as ms

    for schedule in islice(_by_hand(task, run), task.done, min(run.trials, _BY_HAND)):
        _measure(task, run, schedule, ms.arg_info.ArgInfo.from_entry_func(schedule.mod, remove_preproc=True))
    if task.done >= run.trials:
        return
    run.report(f"{task.name}, looking for candidates")
    spaces = task.context.generate_design_space()
    task.context.pre_tuning(run.trials - task.done, _ROUND, spaces, run.database, ms.cost_model.RandomModel())


def _by_hand(task: Task, run: Search) -> Iterator[Any]:
    threads = int(run.target.attrs.get("num-cores", 1))
    return schedules(task.context.mod, task.context.space_generator.postprocs, threads=threads)


def _round(task: Task, run: Search) -> bool:
    """Measure some candidates of a task; return whether there may be more."""
    candidates = task.context.generate_measure_candidates() if task.done < run.trials else None
    if not candidates:
        return False
    results = [_measure(task, run, candidate.sch, candidate.args_info) for candidate in candidates]
    task.context.notify_runner_results(candidates, results)
    return task.done < run.trials


def _measure(task: Task, run: Search, schedule: Any, arguments: Any) -> Any:
    """Return TVM's `RunnerResult` of a candidate; record it if it runs."""
    from tvm.s_tir import meta_schedule as ms

    task.done += 1
    run.done += 1
    try:
        cost_s = _measured_s(schedule.mod, arguments, run.target)
    except Exception as error:  # a candidate may fail in any way; then it is skipped
        if is_out_of_memory(error):
            raise
        print(f"{task.name}: {error}")
        return ms.runner.RunnerResult(None, str(error)[:200])
    record = ms.database.TuningRecord(schedule.trace, task.workload, [cost_s], run.target, arguments)
    run.database.commit_tuning_record(record)
    task.best_us = min(task.best_us, cost_s * 1e6)
    run.report(f"{task.name}, best {task.best_us:.1f} us")
    return ms.runner.RunnerResult([cost_s], None)


def _measured_s(module: Any, arguments: Any, target: Any) -> float:
    """Return the seconds of a call of a candidate on random arguments: the best of several, since other processes run.

    Inside a model, large weights have left the core's cache before they are used again. So a function with large
    arguments gets different ones at each call: the fastest code then may not be the fastest on the same arguments.
    """
    import tvm
    from tvm.s_tir import meta_schedule as ms

    built = ms.builder.local_builder.default_build(module, target, None)
    size = sum(math.prod(map(int, item.shape)) * np.dtype(str(item.dtype)).itemsize for item in arguments)
    sets = [_filled(arguments) for _ in range(-(-_CACHE_BYTES // size) if size >= _LARGE_BYTES else 1)]
    if len(sets) > 1:
        return min(_call_s(built["main"], sets) for _ in range(_REPEATS))
    config = ms.runner.EvaluatorConfig(
        number=1, repeat=_REPEATS, min_repeat_ms=_MEASURED_MS, enable_cpu_cache_flush=False
    )
    return float(min(ms.runner.utils.run_evaluator_common(built, tvm.cpu(), config, sets)))


def _filled(arguments: Any) -> list[Any]:
    import tvm
    import tvm_ffi

    tensors = [tvm.runtime.empty(tuple(item.shape), item.dtype) for item in arguments]
    fill = tvm_ffi.get_global_func("tvm.contrib.random.random_fill")
    for tensor in tensors:
        fill(tensor)
    return tensors


def _call_s(function: Any, sets: list[list[Any]]) -> float:
    """Return the mean seconds of a call over the sets of arguments in turn."""
    started, calls = time.perf_counter(), 0
    while (elapsed_s := time.perf_counter() - started) < _MEASURED_MS / 1e3 or not calls:
        for arguments in sets:
            function(*arguments)
        calls += len(sets)
    return elapsed_s / calls


if __name__ == "__main__":
    child_main(search)
