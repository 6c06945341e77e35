"""What a failed request of a verb prints: its message once, over stdout and stderr together."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from aegisrt.cli.main import main
from tests.runtime.models import affine

MESSAGE = "the mock is set to fail"
HINT = "see `fail_execute` in its options"
EVENT = "WARNING aegisrt.runtime.failures: request"
VERBS = {
    "run": ["run"],
    "bench": ["bench", "--seconds", "0.1"],
    "compare": ["compare", "--backends", "good,mock"],
    "compare, the reference": ["compare", "--backends", "mock,good"],
    "serve --check": ["serve", "--check"],
}


each_verb = pytest.mark.parametrize("words", list(VERBS.values()), ids=list(VERBS))


@pytest.fixture
def manifest(tmp_path):
    affine(tmp_path)
    np.save(tmp_path / "x.npy", np.ones((1, 4), np.float32))
    path = tmp_path / "m.yaml"
    path.write_text(
        "backends:\n  mock: {kind: mock, fail_execute: UNAVAILABLE}\n  good: {kind: mock}\n"
        "models:\n  double: {path: affine.mock.json, backend: mock, sample: {inputs: x.npy}}\n"
    )
    return str(path)


def printed(capfd, words):
    assert main(words) == 1
    captured = capfd.readouterr()
    return captured.out, captured.err


@each_verb
def test_a_message_is_printed_once(capfd, manifest, words):
    out, err = printed(capfd, [*words, manifest])
    assert (out + err).count(MESSAGE) == 1
    assert (out + err).count(HINT) == (0 if words[0] == "bench" else 1)


@each_verb
def test_the_document_is_all_that_json_prints(capfd, manifest, words):
    out, err = printed(capfd, [*words, manifest, "--json"])
    assert (out + err).count(MESSAGE) == 1
    assert MESSAGE in json.dumps(json.loads(out))


@each_verb
def test_verbose_logs_it_too(capfd, manifest, words):
    _, err = printed(capfd, [*words, manifest, "-v"])
    assert err.count(EVENT) == 1


def test_a_message_of_an_isolated_engine_is_printed_once(capfd, manifest):
    out, err = printed(capfd, ["run", manifest, "+backends.mock.isolation=process"])
    assert (out + err).count(MESSAGE) == 1


def test_other_warnings_are_logged(capfd, manifest, monkeypatch):
    from aegisrt.runtime.context import ExecutionContext

    execute = ExecutionContext.execute

    def careful(*arguments):
        logging.getLogger("aegisrt.runtime.other").warning("careful")
        return execute(*arguments)

    monkeypatch.setattr(ExecutionContext, "execute", careful)
    _, err = printed(capfd, ["run", manifest])
    assert err.count("careful") == 1


def test_a_program_that_calls_the_command_gets_the_event(caplog, manifest):
    assert main(["run", manifest]) == 1
    assert [record.name for record in caplog.records] == ["aegisrt.runtime.failures"]
