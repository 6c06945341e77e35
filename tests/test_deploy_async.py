"""`deploy_async`: the event loop goes on, and a deployment that no caller waits for is closed."""

import asyncio
import threading
import time

import pytest

from aegisrt import ErrorCode, deploy_async
from tests.runtime.models import affine

LOAD_S = 0.5


def slow(folder):
    backends = {"slow": {"kind": "mock", "load_delay_ms": LOAD_S * 1e3}}
    return {"backends": backends, "models": {"double": {"path": str(affine(folder)), "backend": "slow"}}}


def test_the_event_loop_goes_on_while_models_load(tmp_path):
    async def main():
        ticks = 0
        deploying = asyncio.create_task(deploy_async(slow(tmp_path)))
        while not deploying.done():
            await asyncio.sleep(0.01)
            ticks += 1
        context = (await deploying).unwrap()
        assert context.models == ("double",)
        context.close().unwrap()
        return ticks

    assert asyncio.run(main()) >= 5


def test_overrides_and_errors_are_those_of_deploy(tmp_path):
    async def main():
        failed = await deploy_async(slow(tmp_path), ["backends.slow.fail_load=DATA_LOSS"])
        assert failed.unwrap_err().code is ErrorCode.DATA_LOSS
        wrong = await deploy_async({"models": 5})
        assert wrong.unwrap_err().diagnostics

    asyncio.run(main())


@pytest.mark.parametrize("after_s", [0.1, LOAD_S + 1.0], ids=["while it loads", "in the moment before it is awaited"])
def test_a_deployment_whose_task_is_canceled_is_closed(tmp_path, monkeypatch, after_s):
    from aegisrt.runtime.context import ExecutionContext

    closed = threading.Event()
    close = ExecutionContext.close
    monkeypatch.setattr(ExecutionContext, "close", lambda self: (close(self), closed.set())[0])

    async def main():
        deploying = asyncio.create_task(deploy_async(slow(tmp_path)))
        await asyncio.sleep(0)
        if after_s < LOAD_S:
            await asyncio.sleep(after_s)
        else:
            time.sleep(after_s)  # the loop does not run, so the task has not got what is deployed by now
        deploying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deploying

    asyncio.run(main())
    assert closed.wait(10)
