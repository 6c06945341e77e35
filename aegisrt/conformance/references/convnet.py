"""The reference convolutional net in numpy: convolution, ReLU, max pooling, a dense layer, softmax."""

from __future__ import annotations

from functools import cache

import numpy as np

from aegisrt.core.tensor import Array

CHANNELS, CLASSES, SIDE = 4, 10, 8


@cache
def weights() -> dict[str, Array]:
    """Return the float32 weights: `kernel` (4, 1, 3, 3), `bias` (4,), `dense` (64, 10), `dense_bias` (10,)."""
    random = np.random.default_rng(7)
    pooled = CHANNELS * (SIDE // 2) ** 2
    shapes = {"kernel": (CHANNELS, 1, 3, 3), "bias": (CHANNELS,), "dense": (pooled, CLASSES), "dense_bias": (CLASSES,)}
    return {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


def conv_net(image: Array) -> Array:
    """Return the probabilities `(batch, 10)` of images `(batch, 1, 8, 8)`."""
    parameters = {name: value.astype(np.float64) for name, value in weights().items()}
    padded = np.pad(image[:, 0], ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    features = np.einsum("bhwij,cij->bchw", windows, parameters["kernel"][:, 0])
    features = np.maximum(features + parameters["bias"][:, None, None], 0)
    half = SIDE // 2
    pooled = features.reshape(-1, CHANNELS, half, 2, half, 2).max(axis=(3, 5))
    logits = pooled.reshape(len(image), -1) @ parameters["dense"] + parameters["dense_bias"]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
