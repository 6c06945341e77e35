"""Some of the ONNX project's cases: what bare TVM answers rightly, this package does too, and nothing kills a process.

Except uses of an operator that TVM computes wrongly for other values: those are refused (build/refusals.py).

`python -m tests.measuring.node_cases` judges all of them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tests.measuring.node_cases import cases, import_engines, judge_in_child

pytestmark = [pytest.mark.engine("tvm"), pytest.mark.engine("onnx"), pytest.mark.slow]
COUNT, EVERY = 60, 31


@cache
def some_cases() -> list[Any]:
    import_engines()
    return cases(every=EVERY)


@pytest.mark.parametrize("index", range(COUNT))
def test_tvm_through_this_package_is_no_worse_than_bare(index):
    case = some_cases()[index]
    got, bare = judge_in_child("tvm", case), judge_in_child("bare tvm", case)
    assert got.partition(":")[0] not in ("died", "hung"), f"{case.name}: {got}"
    refused_on_purpose = got.startswith("refused: UNIMPLEMENTED") and "wrongly" in got
    assert bare != "passed" or got == "passed" or refused_on_purpose, f"{case.name}: {got}"
