"""Builds `argv[1]` with TVM into the cache `argv[2]`, as a deployment would; tells each step, then whether it built."""

import sys
from pathlib import Path

from aegisrt import TVMBackend
from aegisrt.artifacts.build import engine_file
from aegisrt.artifacts.cache import ArtifactCache


def main() -> None:
    """Build, and print a line a step."""
    backend, cache = TVMBackend(), ArtifactCache(Path(sys.argv[2]))
    backend.recipe().unwrap()
    print("started", flush=True)
    made = engine_file(backend, Path(sys.argv[1]), cache, progress=lambda text: print(text, flush=True)).unwrap()
    print(f"built={made.built}", flush=True)


if __name__ == "__main__":
    main()
