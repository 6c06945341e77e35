from tests.devices.fake_cuda import fake_cuda

__all__ = ["fake_cuda"]
