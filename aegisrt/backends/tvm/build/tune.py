"""`tuned`: selects the functions to tune, runs the workers that search, and applies the best code.

Runs in the compiler's process. Only matrix products and convolutions of fixed shape are tuned: they take nearly all
the time, and random schedules of others can hang LLVM.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aegisrt.backends.process.child import is_out_of_memory, report_progress
from aegisrt.backends.process.job import Limits, run_child
from aegisrt.backends.tvm.build.schedules import reductions_vectorized
from aegisrt.backends.tvm.build.search import count_records, open_records
from aegisrt.core.result import ErrorCode, ResultError, fail

_TUNED = ("conv", "matmul", "dense")
_WORKERS_WITHOUT_PROGRESS = 3


def tuned(module: Any, target: Any, settings: Mapping[str, Any], records: Path) -> tuple[Any, dict[str, Any]]:
    """Return the module with the best code that was found for each task, and the numbers of the search.

    Records of earlier searches in the folder `records` count too.
    """
    import tvm
    from tvm.relax import transform

    module = _fused(module, target)
    tasks = _tasks(module, target)
    _search(tasks, settings, records)
    database = open_records(records)
    trials = {name: count_records(database, task) for name, task in tasks.items()}
    report_progress("applying the best of the search")
    with target, database:
        module = tvm.transform.Sequential(
            [
                transform.MetaScheduleApplyDatabase(),
                transform.SplitLayoutRewritePreproc(),
                transform.FoldConstant(),
            ]
        )(module)
    module = _with_plain_loops(module)
    finished = all(count >= settings["trials_per_task"] for count in trials.values())
    return module, {"tuned": all(trials.values()), "tuning": {"trials": trials, "finished": finished}}


def _fused(module: Any, target: Any) -> Any:
    """Return the module as functions to tune: operators fused, and channels last if every operator allows it.

    Then one pixel's channels are contiguous and fill vectors; the remaining transpositions are small.
    """
    import tvm
    from tvm.relax import transform

    channels_last = transform.ConvertLayout({"relax.nn.conv2d": ["NHWC", "HWIO"]})
    lowered = (
        transform.CanonicalizeBindings(),
        transform.LegalizeOps(),
        transform.AnnotateTIROpPattern(),
        transform.FoldConstant(),
        transform.FuseOps(),
        transform.FuseTIR(),
        transform.AttachAttrLayoutFreeBuffers(),
    )
    with target:
        module = transform.DecomposeOpsForInference()(module)
        try:
            return tvm.transform.Sequential([channels_last, *lowered])(module)
        except Exception as error:  # not every operator has code for that layout
            if is_out_of_memory(error):
                raise
            print(f"channels stay first: {error}")
            return tvm.transform.Sequential(list(lowered))(module)


def _with_plain_loops(module: Any) -> Any:
    """Return the module with its untuned reductions of fixed shape vectorized."""
    import tvm
    from tvm.tirx import PrimFunc

    for name, function in module.functions_items():
        if not isinstance(function, PrimFunc) or function.attrs.get("tirx.is_scheduled", False):
            continue
        if _is_static(tvm.IRModule({"main": function.with_attr("global_symbol", "main")})):
            module.update_func(name, reductions_vectorized(function))
    return module


def _tasks(module: Any, target: Any) -> dict[str, Any]:
    """Return the functions to tune by name; each shape of a function counts as one."""
    from tvm.s_tir import meta_schedule as ms

    tasks: dict[str, Any] = {}
    for task in ms.relax_integration.extract_tasks(module, target):
        if any(part in task.task_name for part in _TUNED) and _is_static(task.dispatched[0]):
            tasks[task.task_name] = task.dispatched[0]
    return tasks


def _is_static(module: Any) -> bool:
    from tvm.s_tir import meta_schedule as ms

    try:
        ms.arg_info.ArgInfo.from_entry_func(module)
    except Exception as error:  # it refuses symbolic shapes
        if is_out_of_memory(error):
            raise
        return False
    return True


def _search(tasks: Mapping[str, Any], settings: Mapping[str, Any], records: Path) -> None:
    """Run workers until every task has its trials, the time is over, or workers keep dying without a new record.

    RESOURCE_EXHAUSTED: if they keep running out of memory.
    """
    import tvm

    texts = {name: tvm.ir.save_json(task) for name, task in tasks.items()}
    log = records / "search.log"
    deadline, fruitless, attempt = time.monotonic() + settings["timeout_s"], 0, 0
    while texts and fruitless < _WORKERS_WITHOUT_PROGRESS:
        before, left_s = _total(tasks, records), deadline - time.monotonic()
        if left_s <= 0 or before >= settings["trials_per_task"] * len(texts):
            return
        limits = Limits(left_s, settings["memory_bytes"], settings["trial_timeout_s"])
        job = {
            "tasks": texts,
            "target": settings["target"],
            "records": str(records),
            "trials": settings["trials_per_task"],
            "seed": settings["seed"] + attempt,
            "evolve": not fruitless,
        }
        with tempfile.TemporaryDirectory() as folder:
            try:
                run_child(
                    "aegisrt.backends.tvm.build.search",
                    job,
                    Path(folder),
                    limits=limits,
                    log=log,
                    environment=os.environ,  # this process has what is passed on
                    progress=report_progress,
                )
                return
            except ResultError as failure:
                print(f"a tuning worker ended: {failure}")
                ended = failure
        attempt += 1
        fruitless = 0 if _total(tasks, records) > before else fruitless + 1
        if fruitless == _WORKERS_WITHOUT_PROGRESS and ended.error.code is ErrorCode.RESOURCE_EXHAUSTED:
            raise ended


def _total(tasks: Mapping[str, Any], records: Path) -> int:
    database = open_records(records)
    return sum(count_records(database, task) for task in tasks.values())


def refuse_dynamic(shapes: list[Any]) -> None:
    """Raise INVALID_ARGUMENT if no function has a fixed shape."""
    if all(item is None for item in shapes):
        message = "`tuning` needs a function of fixed shape, and every one has a dynamic dimension"
        hint = "declare `shapes`, such as `shapes: {image: [[16, 1, 8, 8]]}`, or fix sizes with `free_dimensions`"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, hint)
