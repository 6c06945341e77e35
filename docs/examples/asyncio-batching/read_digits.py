"""Read 360 images, each by a request of its own, all at the same time."""

import asyncio

import numpy as np

from aegisrt import Err, ExecutionContext, ExecutionRequest, Ok, deploy_async


async def read(context: ExecutionContext, image: np.ndarray) -> int:
    """Return the digit that an image (1, 8, 8) shows."""
    match await context.execute_async(ExecutionRequest(model="digits", inputs={"image": image[np.newaxis]})):
        case Ok(answer):
            return int(np.asarray(answer.outputs["probabilities"]).argmax())
        case Err(error):
            raise SystemExit(str(error))


async def main() -> None:
    """Print how many digits are right, and how many calls of the engine it took."""
    images, labels = np.load("digits.images.npy"), np.load("digits.labels.npy")
    async with (await deploy_async("service.yaml")).unwrap() as context:
        read_by_model = await asyncio.gather(*(read(context, image) for image in images))
        rows = context.metrics()["digits"].batch_rows
    right = int((np.array(read_by_model) == labels).sum())
    print(f"{right} of {len(labels)} correct, by {rows.count} calls of {rows.sum / rows.count:.0f} rows on average")


if __name__ == "__main__":
    asyncio.run(main())
