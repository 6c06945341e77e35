"""`check_cell`: diagnostics for unknown names in a cell, and for what a cell must not do."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from aegisrt.backends.registry import backend_class, options_by_kind
from aegisrt.ci.options import CellOptions
from aegisrt.core.diagnostic import Diagnostic
from aegisrt.core.optional import DISTRIBUTION
from aegisrt.core.result import Err, ResultError
from aegisrt.core.suggest import did_you_mean, listed, meant, quoted
from aegisrt.deployment import resolve
from aegisrt.devices.base import Device
from aegisrt.manifest.check.kinds import near_kind
from aegisrt.manifest.check.locate import Locator
from aegisrt.manifest.compose.defaults import unknown_option
from aegisrt.manifest.compose.library import ConfigLibrary

_AT = "ci"


def check_cell(options: CellOptions, library: ConfigLibrary, locator: Locator) -> None:
    """Report unknown backends, devices, extras and profiles to `locator`, and self-hosted runners without a gate."""
    _check_backend(options, locator)
    _check_extras(options.extras, locator)
    profile = options.conformance
    if profile is not None and not library.exists(f"conformance/{profile}"):
        place = locator.value((_AT, "conformance"))
        locator.diagnostics.append(unknown_option(library, "conformance", profile, place, path="ci.conformance"))
    if not options.is_hosted and options.when == "always":
        locator.at_value(
            (_AT, "when"),
            "ungated-runner",
            "a runner that is not hosted by GitHub would run code of pull requests before a review",
            label="runs before a review",
            hint="write `when: default-branch-push`, or name one hosted runner in `runs_on`, such as `[ubuntu-24.04]`",
        )
    if options.backend != "mock" and options.conformance is None and options.demo is None:
        locator.at_value(
            (_AT, "conformance"),
            "unproven-engine",
            f"nothing in this cell needs {quoted(options.backend)}: it would pass without that engine",
            label="checks nothing",
            hint="name a profile here, or write `demo: run` or `demo: build`",
        )


def check_overrides(
    own: Sequence[str], deployment: Sequence[str], config_dir: Path | str | None, locator: Locator
) -> None:
    """Report errors in overrides of the packaged demo to `locator`; the cell's own are located in its file."""
    resolved = resolve(None, [*own, *deployment], config_dir=config_dir)
    if not isinstance(resolved, Err):
        return
    for diagnostic in resolved.error.diagnostics:
        text = diagnostic.location.file.removeprefix("override ")
        if text in own and text != diagnostic.location.file:
            diagnostic = _located(diagnostic, own.index(text), locator)
        locator.diagnostics.append(diagnostic)


def _located(diagnostic: Diagnostic, index: int, locator: Locator) -> Diagnostic:
    path = (_AT, "overrides", index)
    return replace(diagnostic, location=locator.value(path), path=f"ci.overrides.{index}", notes=())


def _check_backend(options: CellOptions, locator: Locator) -> None:
    known = options_by_kind().unwrap()
    kind = options.backend
    if kind not in known:
        near = near_kind(kind, known)
        locator.at_value(
            (_AT, "backend"),
            "unknown-kind",
            f"{quoted(kind)} is not a backend kind",
            label=meant(near) or "no such kind",
            hint=f"kinds are {listed(known)}",
        )
        return
    try:
        device = Device.parse(options.device)
    except ResultError as error:
        locator.at_value((_AT, "device"), "bad-value", error.error.message, label="no device", hint=error.error.hint)
        return
    backend = backend_class(kind)
    if options.conformance is None or isinstance(backend, Err):
        return
    devices = backend.value.capabilities.devices
    if device.kind not in devices:
        is_written = locator.origins.of((_AT, "device")).source != "default"
        locator.at_value(
            (_AT, "device" if is_written else "backend"),
            "unsupported-device",
            f"backend kind {quoted(kind)} runs on {', '.join(devices)}, not on {quoted(device.kind)}",
            label="every check would be skipped",
            hint=f"name one of {listed(devices)}, or write `conformance: null` and `demo: build`",
        )


def _check_extras(extras: Sequence[str], locator: Locator) -> None:
    known = sorted(importlib.metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or ())
    for index, extra in enumerate(extras):
        if extra not in known:
            locator.at_value(
                (_AT, "extras", index),
                "unknown-extra",
                f"{quoted(extra)} is not an extra of `{DISTRIBUTION}`",
                label=did_you_mean(extra, known) or "no such extra",
                hint=f"extras are {listed(known)}",
            )
