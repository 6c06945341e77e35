"""Handwritten digits over HTTP: one deployment for the process, from its start to its end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from aegisrt import Err, Error, ErrorCode, ExecutionContext, ExecutionRequest, Ok, deploy_async

STATUS = {
    ErrorCode.INVALID_ARGUMENT: HTTPStatus.UNPROCESSABLE_ENTITY,
    ErrorCode.RESOURCE_EXHAUSTED: HTTPStatus.SERVICE_UNAVAILABLE,
    ErrorCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}
Row = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=8, max_length=8)]
running: dict[str, ExecutionContext] = {}


class Digit(BaseModel):
    """Eight rows of eight pixels, from 0.0 (paper) to 1.0 (ink)."""

    rows: Annotated[list[Row], Field(min_length=8, max_length=8)]


class Answer(BaseModel):
    """The most probable digit."""

    digit: int
    probability: float


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Deploy before the first request, and close after the last one."""
    deployed = await deploy_async(Path(__file__).with_name("service.yaml"))
    async with deployed.unwrap() as context:
        running["context"] = context
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/digits")
async def read_digit(digit: Digit) -> Answer:
    """Return what the model reads; requests that arrive together become one call of the engine."""
    image = np.array(digit.rows, np.float32).reshape(1, 1, 8, 8)
    request = ExecutionRequest(model="digits", inputs={"image": image}, timeout_ms=1000)
    match await running["context"].execute_async(request):
        case Ok(answer):
            probabilities = np.asarray(answer.outputs["probabilities"])[0]
            return Answer(digit=int(probabilities.argmax()), probability=float(probabilities.max()))
        case Err(error):
            raise failure(error)


def failure(error: Error) -> HTTPException:
    """Return the HTTP error of a failed request: the code and the message, and the hint if there is one."""
    detail = {"code": error.code, "message": error.message, "hint": error.hint}
    return HTTPException(STATUS.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR), detail)
