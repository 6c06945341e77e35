"""`ends_before`: interrupts a call at its n-th step in AegisRT's own code."""

import sys


def ends_before(count, call):
    """Return whether a call ends before its step `count`, at which KeyboardInterrupt is raised.

    Python may raise it wherever it enters a function, and after each call of one in C.
    """
    left = count

    def interrupt(frame, event, argument):
        nonlocal left
        if event in ("call", "c_return") and "/aegisrt/" in frame.f_code.co_filename:
            left -= 1
            if not left:
                raise KeyboardInterrupt

    sys.setprofile(interrupt)
    try:
        call()
    except KeyboardInterrupt:
        return False
    finally:
        sys.setprofile(None)
    return left > 0
