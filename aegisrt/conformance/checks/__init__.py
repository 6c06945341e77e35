"""The checks, one file for each subject; importing this registers them all, in the order in which they run."""

# isort: off
from aegisrt.conformance.checks import (  # noqa: F401
    lifecycle,
    signature,
    inputs,
    optional_inputs,
    outputs,
    dtypes,
    shapes,
    numerics,
    model_files,
    failed_loads,
    errors,
    timings,
    deadlines,
    busy_deadlines,
    concurrency,
    memory,
    capabilities,
)
