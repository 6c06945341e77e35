"""The folders of the packaged configurations and schemas, in a wheel and in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def configs_dir() -> Path:
    """Return the folder of the packaged Hydra groups: `aegisrt/_configs` in a wheel, `configs` in a checkout."""
    return _find("configs")


def schemas_dir() -> Path:
    """Return the folder of the packaged JSON Schemas: `aegisrt/_schemas` in a wheel, `schemas` in a checkout."""
    return _find("schemas")


def _find(name: str) -> Path:
    packaged = _PACKAGE / f"_{name}"
    return packaged if packaged.is_dir() else _PACKAGE.parent / name
