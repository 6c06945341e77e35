"""`aegisrt devices`: list every device of this machine, usable or why not."""

from __future__ import annotations

from collections.abc import Sequence

from aegisrt.cli.arguments import parse, verb_parser
from aegisrt.cli.output import print_json

DESCRIPTION = """List the devices of this machine: usable, or the driver's reason why not.

    aegisrt devices
    aegisrt devices --json

exit codes: 0 success, 2 a usage error."""


def main(argv: Sequence[str]) -> int:
    """Return 0."""
    arguments = parse(verb_parser("devices", DESCRIPTION, takes=""), argv)
    from aegisrt.devices.discover import DiscoveredDevice, discover

    devices = discover()
    if arguments.format == "json":
        print_json([device.to_json() for device in devices])
        return 0
    from aegisrt.cli.render import print_table

    def cells(device: DiscoveredDevice) -> tuple[str, ...]:
        memory = f"{device.memory_bytes / 2**30:.1f} GiB" if device.memory_bytes else ""
        usable = "yes" if device.available else "no"
        return (
            device.id,
            usable,
            device.name or "",
            memory,
            device.compute_capability or "",
            device.driver or "",
            device.reason or "",
        )

    print_table(
        ("id", "available", "name", "memory", "capability", "driver", "reason"), [cells(item) for item in devices]
    )
    return 0
