"""Checks for every deployment: the packages that compose manifests, and the cache of built engine files."""

from __future__ import annotations

from collections.abc import Iterator

from aegisrt.artifacts.location import VARIABLE
from aegisrt.backends.base.installation import DoctorCheck, Status
from aegisrt.core.optional import DISTRIBUTION, requirements
from aegisrt.doctor.environment import FOREIGN, MachineFacts

_LITTLE_BYTES = 2**30


def packages(env: MachineFacts) -> Iterator[DoctorCheck]:
    """Yield packages of a wrong version, which a forced install leaves behind, and another project's `aegisrt`."""
    wrong = False
    for name, requirement in requirements().items():
        version = env.packages.get(name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            wrong = True
            wanted = name + ",".join(sorted(map(str, requirement.specifier), reverse=True))
            yield DoctorCheck(
                "packages", "fail", f"{name} is {version or 'missing'}, not {wanted}", f"pip install '{wanted}'"
            )
    if not wrong:
        detail = f"{DISTRIBUTION} {env.packages.get(DISTRIBUTION, '?')} and the packages that it needs"
        yield DoctorCheck("packages", "ok", detail)
    if FOREIGN in env.packages:
        yield DoctorCheck(
            "distribution",
            "fail",
            f"the distribution {FOREIGN} {env.packages[FOREIGN]} is installed beside {DISTRIBUTION}; it is another "
            f"project's, and the two overwrite each other's files",
            f"pip uninstall -y {FOREIGN} && pip install --force-reinstall --no-deps {DISTRIBUTION}",
        )


def cache(env: MachineFacts) -> Iterator[DoctorCheck]:
    """Yield whether the cache can be written, and is safe to load engine files from."""
    facts = env.cache
    if facts.in_the_way is not None:
        detail = f"the cache {facts.path} cannot be a folder: {facts.in_the_way} is a file"
        yield DoctorCheck("cache", "fail", detail, f"export {VARIABLE}=$HOME/.cache/aegisrt, or another folder")
    elif not facts.writable:
        fix = f"sudo chown -R $(id -un) {facts.path}; or set {VARIABLE} to a folder of your own"
        yield DoctorCheck("cache", "fail", f"the cache {facts.path} cannot be written", fix)
    elif facts.unsafe is not None:
        yield DoctorCheck("cache", "fail", *facts.unsafe)
    else:
        yield DoctorCheck("cache", "ok", facts.path)
    if facts.free_bytes < _LITTLE_BYTES:
        detail = f"the disk of the cache {facts.path} has {facts.free_bytes / 2**20:.0f} MiB left"
        status: Status = "fail" if facts.free_bytes < _LITTLE_BYTES // 10 else "warn"
        yield DoctorCheck("disk", status, detail, "aegisrt artifacts prune; or set " + VARIABLE + " to a larger disk")
