"""Expected failures: known bugs, each with its reason, in a TOML file; strict in both directions."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from pydantic import ValidationError

from aegisrt.conformance.catalogue import all_checks
from aegisrt.conformance.processes.judge import Outcome
from aegisrt.conformance.report import Status
from aegisrt.core.options import StrictModel
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import suggest
from aegisrt.core.system_error import system_error
from aegisrt.devices.base import Device

PACKAGED = Path(__file__).parent / "xfails.toml"


class Xfail(StrictModel):
    """One check that is known to fail."""

    backend: str
    """The backend's kind."""
    check: str
    """The check's id."""
    reason: str
    """What is wrong, and where it is tracked."""
    device: str | None = None
    """The device kind that it fails on; null means all."""


class Xfails:
    """The expected failures of one file."""

    def __init__(self, entries: list[Xfail], source: str) -> None:
        self.entries = entries
        self._source = source

    def applied(self, kind: str, device: Device, check: str, outcome: Outcome) -> Outcome:
        """Return the outcome: an expected failure is `xfailed`, an expected failure that passes is `failed`."""
        entry = next((item for item in self.entries if _applies(item, kind, device, check)), None)
        if entry is None:
            return outcome
        if outcome.status is Status.FAILED:
            return Outcome(Status.XFAILED, entry.reason)
        if outcome.status is Status.PASSED:
            return Outcome(Status.FAILED, f"passes, and {self._source} expects it to fail: remove that entry")
        return outcome


def read_xfails(file: Path | None) -> Xfails:
    """Return the expected failures in `file`, by default the packaged one.

    NOT_FOUND: if the file is missing.
    INVALID_ARGUMENT: if it is malformed, or names a check that does not exist.
    """
    file = file or PACKAGED
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
        if set(raw) - {"xfail"}:
            raise ValueError(f"unknown table `{min(set(raw) - {'xfail'})}`, wanted `[[xfail]]`")
        entries = [Xfail.model_validate_json(json.dumps(item)) for item in raw.get("xfail", [])]
    except FileNotFoundError:
        raise fail(ErrorCode.NOT_FOUND, f"file of expected failures {file} does not exist") from None
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message) from None
    except OSError as error:
        raise system_error(error, f"{file} cannot be read") from None
    except ValueError as error:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{file}: {error}") from None
    known = all_checks()
    for entry in entries:
        if entry.check not in known:
            hint = suggest(entry.check, list(known), "checks")
            raise fail(ErrorCode.INVALID_ARGUMENT, f"{file}: `{entry.check}` is not a check", hint)
    return Xfails(entries, file.name)


def _applies(entry: Xfail, kind: str, device: Device, check: str) -> bool:
    return entry.check == check and entry.backend == kind and entry.device in (None, device.kind)
