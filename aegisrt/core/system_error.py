"""`system_error`: the one place that decides which `ErrorCode` an error of the operating system has, by its `errno`."""

from __future__ import annotations

import errno
import os

from aegisrt.core.result import ErrorCode, ResultError, fail

_CODES = {
    errno.EAGAIN: ErrorCode.RESOURCE_EXHAUSTED,
    errno.EMFILE: ErrorCode.RESOURCE_EXHAUSTED,
    errno.ENFILE: ErrorCode.RESOURCE_EXHAUSTED,
    errno.ENOMEM: ErrorCode.RESOURCE_EXHAUSTED,
    errno.ENOSPC: ErrorCode.RESOURCE_EXHAUSTED,
    errno.EDQUOT: ErrorCode.RESOURCE_EXHAUSTED,
    errno.EFBIG: ErrorCode.RESOURCE_EXHAUSTED,
    errno.ENOLCK: ErrorCode.RESOURCE_EXHAUSTED,
    errno.ENOENT: ErrorCode.NOT_FOUND,
    errno.ENOTDIR: ErrorCode.NOT_FOUND,
    errno.EACCES: ErrorCode.PERMISSION_DENIED,
    errno.EPERM: ErrorCode.PERMISSION_DENIED,
    errno.EROFS: ErrorCode.PERMISSION_DENIED,
    errno.EEXIST: ErrorCode.ALREADY_EXISTS,
    errno.EISDIR: ErrorCode.INVALID_ARGUMENT,
    errno.EINVAL: ErrorCode.INVALID_ARGUMENT,
    errno.ELOOP: ErrorCode.INVALID_ARGUMENT,
    errno.ENAMETOOLONG: ErrorCode.INVALID_ARGUMENT,
    errno.EIO: ErrorCode.UNAVAILABLE,
    errno.ESTALE: ErrorCode.UNAVAILABLE,
    errno.ETIMEDOUT: ErrorCode.DEADLINE_EXCEEDED,
}
_OF_THE_LINKER = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_HINTS = {
    errno.EAGAIN: "raise the limit of processes and threads: `ulimit -u`",
    errno.EMFILE: "raise the limit of open files: `ulimit -n`",
    errno.ENFILE: "the whole system has too many open files: close some, or raise `fs.file-max`",
    errno.ENOMEM: "free memory, or allow this process more",
    errno.ENOSPC: "free space on the disk",
    errno.EDQUOT: "free space of this user on the disk, or raise the quota",
    errno.EFBIG: "raise the limit of the size of files: `ulimit -f`",
}


def system_code(error: BaseException, otherwise: ErrorCode = ErrorCode.INTERNAL) -> ErrorCode:
    """Return the code for an error of the operating system; `otherwise` for one without a code of its own.

    An ImportError counts too: the dynamic linker reports a missing file descriptor as a text.
    """
    number = _number(error)
    if number in _CODES:
        return _CODES[number]
    return ErrorCode.RESOURCE_EXHAUSTED if isinstance(error, MemoryError) else otherwise


def is_exhausted(error: BaseException) -> bool:
    """Return whether memory, disk space, file descriptors, processes or threads ran out."""
    return system_code(error) is ErrorCode.RESOURCE_EXHAUSTED


def system_error(
    error: BaseException, message: str, hint: str | None = None, *, otherwise: ErrorCode = ErrorCode.INTERNAL
) -> ResultError:
    """Return the `ResultError` for an error of the operating system, with its text in the message and as the cause.

    `otherwise` is the code for an error without one of its own. If something ran out, the hint is how to get more.
    """
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return fail(system_code(error, otherwise), f"{message}: {reason}", exhausted_hint(error) or hint, cause=str(error))


def exhausted_hint(error: BaseException) -> str | None:
    """Return how to get more of what ran out, or None for another error."""
    return _HINTS.get(_number(error) or errno.ENOMEM, "free some, or raise its limit") if is_exhausted(error) else None


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError):
        # `tempfile` hides why it could not write in any folder; it tries several, so that is seldom a permission
        return errno.ENOSPC if "No usable temporary directory" in str(error) else error.errno
    if isinstance(error, ImportError):
        return next((number for number in _OF_THE_LINKER if os.strerror(number) in str(error)), None)
    return None
