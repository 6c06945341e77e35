"""`immortalize`: keeps an object so that its destructor never runs, not even when the interpreter ends.

For objects of native libraries whose destructors hang, crash or print once the process has lost what they free: their
threads, in a child that a fork made, or their device.
"""

from __future__ import annotations

import ctypes


def immortalize(item: object) -> None:
    """Add a reference to an object that nothing ever drops; what it refers to then lives on too."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(item))
