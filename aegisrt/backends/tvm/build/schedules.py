"""`schedules`: schedules written by hand for matrix products and convolutions, and for untuned functions beside them.

A search draws its candidates at random, and few of 32 are near the processor's limit. These are: they keep a tile of
the result in vector registers over the whole reduction, and the best tile is found by measuring. Each consists of
TVM's transformations, which keep the meaning (https://tvm.apache.org/docs/deep_dive/tensor_ir/tutorials/tir_transformation.html).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from aegisrt.backends.process.child import is_out_of_memory
from aegisrt.backends.tvm.build.reductions import REDUCTION

_LONGEST_VECTOR, _MOST_ROWS = 64, 16
_FEWEST, _BEST, _MOST = 64, 256, 512
"""Elements of a tile: as many as 16 to 32 vector registers hold."""
_LANES = 16


def schedules(module: Any, postprocs: Any, *, threads: int) -> Iterator[Any]:
    """Yield schedules of a task's function `main`, the most promising first; none for a function of another form.

    `postprocs` are those of TVM's search, which change the layout of weights and make loops parallel.
    """
    from tvm import s_tir

    for rows, lanes in _tiles(module):
        schedule = s_tir.Schedule(module)
        try:
            _tile(schedule, rows, lanes)
            schedule.annotate(schedule.get_sblock("root"), "meta_schedule.parallel", _LANES * threads)
            schedule.enter_postproc()
            if all(postproc.apply(schedule) for postproc in postprocs):
                yield schedule
        except Exception as error:  # a function of another form refuses a step
            if is_out_of_memory(error):
                raise
            print(f"no tile of {rows} rows by {lanes}: {str(error).strip().splitlines()[-1:]}")


def _tiles(module: Any) -> list[tuple[int, int]]:
    """Return tiles (rows, elements of a row) that divide the result's last two dimensions."""
    from tvm import s_tir

    schedule = s_tir.Schedule(module)
    block = _main_block(schedule)
    if block is None:
        return []
    spatial, _ = _loops(schedule, block)
    if len(spatial) < 2:
        return []
    height, width = (int(schedule.get(loop).extent) for loop in spatial[-2:])
    tiles = [(rows, lanes) for rows in _divisors(height, _MOST_ROWS) for lanes in _divisors(width, _LONGEST_VECTOR)]
    fitting = [(rows, lanes) for rows, lanes in tiles if _FEWEST <= rows * lanes <= _MOST] or tiles[-1:]
    return sorted(fitting, key=lambda tile: (tile[1] % 8 != 0, abs(math.log2(tile[0] * tile[1] / _BEST)), -tile[1]))


def _divisors(number: int, most: int) -> list[int]:
    return [size for size in range(1, min(number, most) + 1) if number % size == 0]


def _main_block(schedule: Any) -> Any | None:
    """Return the block that reduces over most loops."""
    blocks = [block for block in schedule.get_child_blocks(schedule.get_sblock("root")) if _reduces(schedule, block)]
    return max(blocks, key=lambda block: len(schedule.get(block).iter_vars), default=None)


def _reduces(schedule: Any, block: Any) -> bool:
    return any(axis.iter_type == REDUCTION for axis in schedule.get(block).iter_vars)


def _loops(schedule: Any, block: Any) -> tuple[list[Any], list[Any]]:
    """Return the loops over a block's result, and those over which it reduces."""
    pairs = list(zip(schedule.get_loops(block), schedule.get(block).iter_vars, strict=True))
    return (
        [loop for loop, axis in pairs if axis.iter_type != REDUCTION],
        [loop for loop, axis in pairs if axis.iter_type == REDUCTION],
    )


def _tile(schedule: Any, rows: int, lanes: int) -> None:
    """Compute the result tile by tile, each in registers; what follows (bias, ReLU) is computed on the tile."""
    block = _main_block(schedule)
    (*outer, row, column), reduced = _loops(schedule, block)
    columns, lane = schedule.split(column, [None, lanes])
    tiles, row = schedule.split(row, [None, rows])
    schedule.reorder(*outer[:1], columns, *outer[1:], tiles, *reduced, row, lane)
    if outer:
        for producer in schedule.get_producers(block):
            schedule.compute_at(producer, outer[0], preserve_unit_loops=True)
    last = _last(schedule, block)
    schedule.reverse_compute_at(last, tiles, preserve_unit_loops=True)
    for inner in ((row, lane), schedule.get_loops(last)[-2:]):
        schedule.unroll(inner[0])
        schedule.vectorize(inner[1])


def _last(schedule: Any, block: Any) -> Any:
    """Return the one block that follows `block`; later ones are merged into it."""
    following = schedule.get_consumers(block)
    if not following:
        return schedule.cache_write(block, 0, "local")
    while later := schedule.get_consumers(following[0]):
        schedule.reverse_compute_inline(later[0])
    return following[0]


def reductions_vectorized(function: Any) -> Any:
    """Return a function of fixed shape with each reduction's innermost loop over contiguous elements, or unchanged.

    Pooling and means over pictures with channels last have the reduction innermost, which no compiler turns into
    vector code.
    """
    import tvm
    from tvm import s_tir

    schedule = s_tir.Schedule(tvm.IRModule({"main": function}))
    try:
        for block in schedule.get_child_blocks(schedule.get_sblock("root")):
            if _reduces(schedule, block) and _reads_along_its_result(schedule, block):
                _vectorize(schedule, block)
    except Exception as error:  # a function of another form stays unchanged
        if is_out_of_memory(error):
            raise
        print(f"a reduction stays unchanged: {str(error).strip().splitlines()[-1:]}")
        return function
    return schedule.mod["main"]


def _reads_along_its_result(schedule: Any, block: Any) -> bool:
    """Return whether the block reads and writes contiguous elements along one axis."""
    body = schedule.get(block)
    axes = [axis for axis in body.iter_vars if axis.iter_type != REDUCTION]
    regions = [region.region[-1].min for region in (*body.reads, *body.writes) if len(region.region)]
    return bool(axes) and len(regions) > 1 and all(index.same_as(axes[-1].var) for index in regions)


def _vectorize(schedule: Any, block: Any) -> None:
    spatial, reduced = _loops(schedule, block)
    extent = int(schedule.get(spatial[-1]).extent)
    lanes = next((lanes for lanes in (64, 32, 16, 8) if extent % lanes == 0), None)
    if lanes is None:
        return
    columns, lane = schedule.split(spatial[-1], [None, lanes])
    schedule.reorder(*spatial[:-1], columns, *reduced, lane)
    schedule.vectorize(lane)
    schedule.vectorize(schedule.get_loops(schedule.decompose_reduction(block, reduced[0]))[-1])
