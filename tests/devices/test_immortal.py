"""What is kept forever outlives everything: its destructor does not run, not even as the interpreter ends."""

import subprocess
import sys

import pytest

PROGRAM = """
import gc, sys
from aegisrt.devices.immortal import immortalize

class Loud:
    def __init__(self, name, friend=None):
        self.name, self.friend = name, friend

    def __del__(self):
        print("destroyed", self.name)

first = Loud("first", friend=Loud("second"))
if sys.argv[1:]:
    immortalize(first)
del first
gc.collect()
print("end")
last = Loud("last")
if sys.argv[1:]:
    immortalize(last)
"""


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [([], ["destroyed first", "destroyed second", "end", "destroyed last"]), (["keep"], ["end"])],
)
def test_neither_the_garbage_collector_nor_the_end_of_the_interpreter_destroys_it(arguments, lines):
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == lines
    assert done.stderr == ""
