"""Stand-ins for a GPU and for TensorRT, in every process that imports `tensorrt`.

`write_packages` makes a folder for PYTHONPATH: the conformance kit's workers and the builder's child import the fake
from there by its real name, and the fake brings the GPU with it. Nothing is recorded, so that memory stays flat.
"""

import sys
from collections import deque
from pathlib import Path

from tests.fakes.cuda import FakeCuda, pycuda_modules
from tests.fakes.tensorrt import FakeTensorRT

_PACKAGE = """from tests.fakes.machine import take_over

take_over(__name__, {api!r}, {capability!r})
"""
_METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"


def write_packages(folder, api):
    """Write the package of one version's surface into `folder`; return the name of its distribution."""
    name, _, version = Path(api).stem.partition("-")
    capability = (8, 9) if name == "tensorrt_rtx" else (9, 0)
    package, metadata = folder / name, folder / f"{name}-{version}.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    (package / "__init__.py").write_text(_PACKAGE.format(api=str(api), capability=capability))
    (metadata / "METADATA").write_text(_METADATA.format(name=name, version=version))
    (metadata / "top_level.txt").write_text(f"{name}\n")
    return name


def take_over(name, api, capability):
    """Replace TensorRT by the fake in the module that imports it, and the GPU under the backend by the fake GPU."""
    from aegisrt.devices.cuda import driver as cuda_driver

    cuda = FakeCuda(capability=capability)
    cuda.calls, cuda.finished = deque(maxlen=64), deque(maxlen=64)
    fake = FakeTensorRT(api, cuda)
    fake.calls, fake.destroyed = deque(maxlen=64), deque(maxlen=64)
    fake.module.__spec__ = sys.modules[name].__spec__
    sys.modules[name] = fake.module
    sys.modules.update(pycuda_modules(cuda))
    cuda_driver._load = lambda: cuda
