"""What the server costs beyond transport, codec and engine: `python -m aegisrt.bench.own.server [--rounds N] [--json]`.

One model of one node on one core, behind `aegisrt serve` and behind a server of the same transport, codec and engine
with nothing between (`bare_server`), by turns, loaded by h2load (Debian's package nghttp2-client) with one prepared
request. HTTP with binary tensors at 1, 8 and 32 clients, 600 KB bodies, and gRPC. The processor's time of the server a
request is the figure that holds on a busy machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from aegisrt.bench.one_node import field, one_node_model
from aegisrt.bench.own.arguments import parser_of
from aegisrt.bench.own.finding import Finding, at_most, exit_code
from aegisrt.core.tensor import Array

_SMALL, _LARGE = (1, 16), (1, 150_000)
_REQUESTS = 4000
_HTTP_BOUND, _GRPC_BOUND = 2.0, 1.15
_LISTENERS = ("server.http.listen=127.0.0.1:0", "server.grpc.listen=127.0.0.1:0", "server.metrics.listen=null")


@dataclass(frozen=True, slots=True)
class ServerLoad:
    """One load of both servers."""

    name: str
    protocol: str
    clients: int
    shape: tuple[int, ...]
    options: tuple[str, ...] = ()
    """Overrides of `aegisrt serve`."""
    bound: float = _HTTP_BOUND


LOADS = (
    *(ServerLoad(f"HTTP, {clients} clients", "http", clients, _SMALL) for clients in (1, 8, 32)),
    ServerLoad("HTTP, 8 clients, in workers", "http", 8, _SMALL, ("server.dispatch.mode=worker",), bound=3.0),
    ServerLoad("HTTP, 8 clients, 600 KB", "http", 8, _LARGE),
    *(ServerLoad(f"gRPC, {clients} clients", "grpc", clients, _SMALL, bound=_GRPC_BOUND) for clients in (1, 8, 32)),
)


@dataclass(slots=True)
class ServerProcess:
    """A running server, and the address to load."""

    process: subprocess.Popen[str]
    address: str

    def processor_s(self) -> float:
        """Return the processor's time of the process so far, in seconds (Linux)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(rounds: int) -> list[Finding]:
    """Return for each cell the processor's time a request over that of the bare server; raise RuntimeError."""
    if shutil.which("h2load") is None:
        raise RuntimeError("h2load is not installed; on Debian: apt install nghttp2-client")
    with tempfile.TemporaryDirectory() as folder:
        return [_compare(cell, Path(folder), rounds) for cell in LOADS]


def _compare(cell: ServerLoad, folder: Path, rounds: int) -> Finding:
    model = folder / "model.onnx"
    model.write_bytes(one_node_model(cell.shape))
    body = folder / "body"
    headers = _write_request(cell, body)
    times: dict[str, list[float]] = {"aegisrt": [], "bare": []}
    rates: dict[str, list[float]] = {"aegisrt": [], "bare": []}
    with ExitStack() as stack:
        servers = {
            "aegisrt": stack.enter_context(_aegisrt(model, cell)),
            "bare": stack.enter_context(_bare(model, cell)),
        }
        for turn in range(rounds + 1):
            for name, server in servers.items():
                rate, processor_us = _load(server, cell, body, headers)
                if turn:  # the first one warms up
                    rates[name].append(rate)
                    times[name].append(processor_us)
    ours, bare = median(times["aegisrt"]), median(times["bare"])
    detail = f"{ours:.0f} us over {bare:.0f} us; {median(rates['aegisrt']):.0f}/s over {median(rates['bare']):.0f}/s"
    return at_most(cell.name, ours / bare, cell.bound, "times", detail)


def _write_request(cell: ServerLoad, path: Path) -> list[str]:
    """Write the body of a request, and return the headers that h2load sends with it."""
    value: Array = np.ones(cell.shape, np.float32)
    if cell.protocol == "http":
        tensor = {
            "name": "x",
            "shape": cell.shape,
            "datatype": "FP32",
            "parameters": {"binary_data_size": value.nbytes},
        }
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        path.write_bytes(head + value.tobytes())
        return ["-H", f"Inference-Header-Content-Length: {len(head)}"]
    spec = field(1, "x") + field(2, "FP32") + b"".join(field(3, size) for size in cell.shape)
    message = field(1, "model") + field(5, spec) + field(7, value.tobytes())
    path.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    return ["-H", "content-type: application/grpc", "-H", "te: trailers"]


def _load(server: ServerProcess, cell: ServerLoad, body: Path, headers: list[str]) -> tuple[float, float]:
    """Return requests per second, and microseconds of the server's processor a request."""
    path = "/v2/models/model/infer" if cell.protocol == "http" else "/inference.GRPCInferenceService/ModelInfer"
    count = _REQUESTS // 10 if cell.shape == _LARGE else _REQUESTS
    version = ["--h1"] if cell.protocol == "http" else []
    command = ["h2load", *version, "-c", str(cell.clients), "-n", str(count), "-d", str(body), *headers]
    before, since_s = server.processor_s(), perf_counter()
    done = subprocess.run([*command, server.address + path], capture_output=True, text=True, check=True)  # noqa: S603
    seconds, used_s = perf_counter() - since_s, server.processor_s() - before
    answered = re.search(r"status codes: (\d+) 2xx", done.stdout)
    if answered is None or int(answered[1]) != count:
        raise RuntimeError(f"{cell.name}: not every request was answered:\n{done.stdout[-500:]}")
    return count / seconds, used_s / count * 1e6


@contextmanager
def _aegisrt(model: Path, cell: ServerLoad) -> Iterator[ServerProcess]:
    manifest = model.with_suffix(".yaml")
    manifest.write_text(f"models:\n  model: {{path: {model.name}, backend: onnx, warmup: 20}}\n")
    command = [sys.executable, "-m", "aegisrt", "serve", str(manifest), "devices.cpu.threads=1", *_LISTENERS]
    with _started([*command, *cell.options]) as process:
        addresses = {}
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "ready":
                break
            name, address = line.split()
            addresses[name] = address if address.startswith("http") else f"http://{address}"
        yield ServerProcess(process, addresses[cell.protocol])


@contextmanager
def _bare(model: Path, cell: ServerLoad) -> Iterator[ServerProcess]:
    with _started([sys.executable, "-m", "aegisrt.serving.bare_server", cell.protocol, str(model)]) as process:
        assert process.stdout is not None
        yield ServerProcess(process, process.stdout.readline().strip())


@contextmanager
def _started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> int:
    """Print the findings; return 0 if every bound holds, else 1."""
    arguments = parser_of("server", __doc__, rounds=5, what="load").parse_args()
    try:
        findings = measure(arguments.rounds)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print("\n".join(map(str, findings)))
    return exit_code(findings)


if __name__ == "__main__":
    sys.exit(main())
