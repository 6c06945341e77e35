"""Markers that skip with a reason, and what lets a second environment run only what the first could not.

`engine(name)` skips if that engine is not installed, `gpu` if there is no device.

`--write-passed FILE` lists the tests that passed. `--skip-passed FILE` leaves those out, except tests marked `smoke`:
`make test` runs first without any engine, then with all of them, and no test twice.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from aegisrt.backends.registry import backend_class

settings.register_profile("ours", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("ours")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-passed", type=Path, metavar="FILE", help="write the ids of the tests that passed")
    parser.addoption("--skip-passed", type=Path, metavar="FILE", help="leave out the tests that FILE lists")


def pytest_configure(config: pytest.Config) -> None:
    file = config.getoption("--write-passed")
    if file and not hasattr(config, "workerinput"):  # under xdist the controller gets every report
        config.pluginmanager.register(_Passed(file))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    file = config.getoption("--skip-passed")
    if file is None:
        return
    passed = frozenset(file.read_text(encoding="utf-8").splitlines())
    left_out = [item for item in items if item.nodeid in passed and not item.get_closest_marker("smoke")]
    config.hook.pytest_deselected(items=left_out)
    chosen = set(items).difference(left_out)
    items[:] = [item for item in items if item in chosen]


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("engine"):
        state = backend_class(marker.args[0]).unwrap().availability()
        if not state.available:
            pytest.skip(f"{state.reason}; run: {state.install}")
    if item.get_closest_marker("gpu") and not Path("/dev/nvidiactl").exists():
        pytest.skip("there is no NVIDIA device on this machine")


class _Passed:
    """Collects the tests whose call passed; a skipped test has no call, or one that does not pass."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.ids: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.ids.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text("".join(f"{one}\n" for one in sorted(self.ids)), encoding="utf-8")
