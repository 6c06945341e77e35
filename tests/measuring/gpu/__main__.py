"""Measure calls on a GPU: `python -m tests.measuring.gpu [MODEL.onnx ...] [--engine NAME] [--json FILE]`.

For each engine that is installed and each model (default: digits, and magika if it was fetched), with batches of 1 and
8, prints a row: a bare loop with the same copies, AegisRT over it in microseconds and as a ratio, and what two
instances gain, bare and through AegisRT. All in the same run, in turns. The columns are those of table.py.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from aegisrt.core.resources import configs_dir
from tests.measuring.gpu import onnx, table, tensorrt, tvm
from tests.measuring.gpu.loops import SHORT, Effort
from tests.models.real_models import NotFetchedError, fetch

ENGINES = {engine.NAME: engine for engine in (onnx, tensorrt, tvm)}


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def default_models():
    """Return the packaged model, and magika if it is there."""
    found = [configs_dir() / "model" / "digits.onnx"]
    try:
        found.append(fetch("magika"))
    except NotFetchedError as error:
        say(f"magika is left out: {error}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--engine", action="append", choices=sorted(ENGINES), help="measure these alone")
    parser.add_argument("--batch", action="append", type=int, help="measure these batches; default 1 and 8")
    parser.add_argument("--short", action="store_true", help="only a few calls, to see that everything works")
    parser.add_argument("--json", type=Path, help="write the rows there too")
    arguments = parser.parse_args()
    rows, failed, effort = [], False, SHORT if arguments.short else Effort()
    say(table.line(None))
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.engine or ENGINES:
            reason = ENGINES[name].why_not()
            if reason is not None:
                say(f"{name} is left out: {reason}")
                continue
            for model in arguments.models or default_models():
                for batch in arguments.batch or (1, 8):
                    try:
                        rows.append(table.row(ENGINES[name], model, batch, folder, effort))
                    except Exception as error:  # noqa: BLE001  (the other rows are measured all the same)
                        say(f"{name}, {model.stem}, batch {batch} failed: {type(error).__name__}: {error}")
                        failed = True
                    else:
                        say(table.line(rows[-1]))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=1))
    if failed or not rows:
        sys.exit("not everything was measured")


if __name__ == "__main__":
    main()
