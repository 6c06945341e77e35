from tests.fakes.cuda import fake_cuda

__all__ = ["fake_cuda"]
