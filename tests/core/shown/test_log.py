"""Events: on one line, with control characters escaped and secrets hidden, and formatted only if they are logged."""

from __future__ import annotations

import io
import logging
import subprocess
import sys

import pytest

from aegisrt.core.shown import log as module
from aegisrt.core.shown.log import Log, hide_in_logs


@pytest.fixture
def secrets(monkeypatch):
    monkeypatch.setattr(module._Secrets, "_hidden", {})


def test_an_event_has_fields_for_handlers(caplog):
    with caplog.at_level(logging.INFO, logger="aegisrt"):
        Log("aegisrt.some.module").info("loaded `%s` in %.0f ms", "m", 1.6, model="m", ms=1.6, version=None)
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("aegisrt.some.module", "INFO", "loaded `m` in 2 ms")
    assert (record.model, record.ms) == ("m", 1.6)
    assert not hasattr(record, "version")
    assert record.filename == "test_log.py"


def test_control_characters_and_lines_are_escaped(caplog):
    with caplog.at_level(logging.WARNING, logger="aegisrt"):
        Log("aegisrt.x").warning("failed: %s", "a\nFAKE LINE\x1b[2J\u202e", request_id="r\r\n\x00", parts=("\x07",))
    (record,) = caplog.records
    assert record.getMessage() == r"failed: a\nFAKE LINE\x1b[2J\u202e"
    assert record.request_id == r"r\r\n\x00"
    assert record.parts == [r"\x07"]


def test_a_percent_sign_in_a_value_formats_nothing(caplog):
    with caplog.at_level(logging.WARNING, logger="aegisrt"):
        Log("aegisrt.x").warning("%s", "100 %s %d")
    assert caplog.records[0].getMessage() == "100 %s %d"


def test_secrets_are_hidden_in_texts_and_fields(caplog, secrets):
    hide_in_logs(frozenset({"hunter2"}), lambda text: text.replace("hunter2", "***"))
    with caplog.at_level(logging.WARNING, logger="aegisrt"):
        Log("aegisrt.x").warning("the token %s", "hunter2", path="/hunter2/x")
    (record,) = caplog.records
    assert (record.getMessage(), record.path) == ("the token ***", "/***/x")


def _raised(text):
    try:
        try:
            raise KeyError(f"first {text}")
        except KeyError as cause:
            raise ValueError(f"second {text}") from cause
    except ValueError as error:
        return error


@pytest.mark.parametrize("level", ["debug", "error"])
def test_an_applications_handler_prints_a_traceback_without_forged_lines_and_secrets(secrets, level):
    hide_in_logs(frozenset({"hunter2"}), lambda text: text.replace("hunter2", "***"))
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    logger = logging.getLogger("aegisrt.traced")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        getattr(Log("aegisrt.traced"), level)("it failed", error=_raised("x\n::error::forged\x1b[2J hunter2"))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    text = out.getvalue()
    assert r"ValueError: second x\n::error::forged\x1b[2J ***" in text
    assert r"KeyError: 'first x\n::error::forged\x1b[2J ***'" in text
    assert text.count("in _raised") == 2
    assert not [line for line in text.splitlines() if line.lstrip().startswith("::")]
    assert "hunter2" not in text
    assert "\x1b" not in text


def test_an_exception_without_a_text_and_a_ring_of_causes_are_logged(caplog):
    class UnshownError(Exception):
        def __str__(self):
            raise RuntimeError

    first, second = UnshownError(), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    Log("aegisrt.x").error("it failed", error=first)
    assert "UnshownError: its text cannot be shown" in caplog.text
    assert "ValueError: second" in caplog.text


def test_nothing_is_formatted_for_a_level_that_is_off():
    class Counted:
        shown = 0

        def __str__(self):
            Counted.shown += 1
            return "x"

    logging.getLogger("aegisrt.off").setLevel(logging.ERROR)
    Log("aegisrt.off").warning("%s", Counted(), field=Counted())
    assert Counted.shown == 0


def test_a_library_prints_no_warnings_by_itself():
    program = "from aegisrt.core.shown.log import Log; Log('aegisrt.x').warning('hello')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_package_does_not_import_logging_until_it_is_used():
    program = "import aegisrt, sys; print('logging' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
