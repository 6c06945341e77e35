"""Reductions on the CPU: with the value of an empty set, and with infinity as the identity of maximum and minimum.

TVM sets a result's first value in the first turn of the loop that reduces. Without any turn, over an axis of size 0,
the result is whatever the memory held before. And its maximum starts from the lowest finite number, so that of
nothing but minus infinity is wrong.
"""

from __future__ import annotations

import math
from typing import Any

from aegisrt.backends.process.child import is_out_of_memory

REDUCTION = 2
"""`IterVar.CommReduce`."""


def with_infinite_identities(module: Any) -> Any:
    """Return the module with its `relax.max` and `relax.min` of floating-point numbers lowered to functions."""
    from tvm.relax import transform

    return transform.LegalizeOps({"relax.max": _legalize_max, "relax.min": _legalize_min})(module)


def _legalize_max(builder: Any, call: Any) -> Any:
    return _legalize(builder, call, "max", -math.inf)


def _legalize_min(builder: Any, call: Any) -> Any:
    return _legalize(builder, call, "min", math.inf)


def _legalize(builder: Any, call: Any, name: str, identity: float) -> Any:
    from tvm import te, tirx, topi

    plain, combine = getattr(topi, name), getattr(tirx, name)
    reducer = te.comm_reducer(lambda a, b: combine(a, b), lambda dtype: tirx.const(identity, dtype), name)

    def reduced(data: Any) -> Any:
        axes, keep = call.attrs.axis, bool(call.attrs.keepdims)
        if "float" not in str(data.dtype):
            return plain(data, axes, keep)
        rank = len(data.shape)
        chosen = sorted(int(axis) % rank for axis in axes) if axes is not None else list(range(rank))
        over = {axis: te.reduce_axis((0, data.shape[axis]), f"k{axis}") for axis in chosen}
        left = [size for axis, size in enumerate(data.shape) if axis not in over]
        shape = [1 if axis in over else size for axis, size in enumerate(data.shape)] if keep else left

        def element(*indices: Any) -> Any:
            rest = iter([index for axis, index in enumerate(indices) if not (keep and axis in over)])
            at = [over[axis].var if axis in over else next(rest) for axis in range(rank)]
            return reducer(data[tuple(at)], axis=list(over.values()))

        return te.compute(tuple(shape), element, name=f"{name}_of_all")

    return builder.call_te(reduced, call.args[0], primfunc_name_hint=name)


def with_separate_starts(function: Any) -> Any:
    """Return a function with each reduction's first value set before its loop, or unchanged."""
    import tvm
    from tvm import s_tir

    schedule = s_tir.Schedule(tvm.IRModule({"main": function}))
    try:
        for block in schedule.get_child_blocks(schedule.get_sblock("root")):
            body = schedule.get(block)
            loops = [
                loop
                for loop, axis in zip(schedule.get_loops(block), body.iter_vars, strict=True)
                if axis.iter_type == REDUCTION
            ]
            if body.init is not None and loops:
                schedule.decompose_reduction(block, loops[0])
    except Exception as error:  # a function of another form has no such loop
        if is_out_of_memory(error):
            raise
        print(f"a reduction starts in its loop: {str(error).strip().splitlines()[-1:]}")
        return function
    return schedule.mod["main"]
