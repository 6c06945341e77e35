"""Train the packaged digits model, and write it with its held-out images and labels.

    pip install torch==2.13.0 scikit-learn==1.9.1 onnx==1.23.2 onnxruntime
    python tests/models/train_digits.py [FOLDER]             # FOLDER is configs/model unless named

AegisRT itself needs none of these packages. It takes ten seconds on one core and prints the accuracy, the sizes
and the sha256 of what it wrote. Twice on one machine gives the same bytes; another processor or another release of
torch may round a weight differently, the images and labels stay the same.

Data: the 1,797 images of `sklearn.datasets.load_digits`, of which 360 are held out (stratified, seeded) and never
seen in training. Neither architecture nor schedule was chosen by them: `--validate` splits the training part once
more and measures on that. configs/model/DIGITS.md has the source and the licence.

Model: `image` FP32 [batch,1,8,8], pixels 0.0 (paper) to 1.0 (ink), to `probabilities` FP32 [batch,10]. The data set
counts pixels from 0 to 16; dividing by 16, a power of two, is exact.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

SEED = 20261
HELD_OUT = 360
EPOCHS = 60
BATCH = 64
PIXEL_MAX = 16.0
OPSET, IR_VERSION = 17, 8
FOLDER = Path(__file__).resolve().parents[2] / "configs" / "model"


def load() -> tuple[np.ndarray, np.ndarray]:
    """Return the data set: images FP32 (1797, 1, 8, 8) of 0.0 to 1.0, and labels int64 (1797,)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images.astype(np.float32)[:, None] / np.float32(PIXEL_MAX), digits.target.astype(np.int64)


def split(labels: np.ndarray, held_out: int = HELD_OUT) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the training part and of the held-out part, both sorted, each class in proportion."""
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(np.arange(len(labels)), test_size=held_out, stratify=labels, random_state=SEED)
    return np.sort(train), np.sort(test)


def train(images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return the weights by name after training on `images` (N, 1, 8, 8) of 0.0 to 1.0."""
    import torch

    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    net = _network(torch.nn)
    steps = EPOCHS * -(-len(x) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    loss_of = torch.nn.CrossEntropyLoss(label_smoothing=0.05)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            loss_of(net(_moved(torch, x[rows])), y[rows]).backward()
            optimizer.step()
            schedule.step()
    return {name: value.detach().numpy() for name, value in net.state_dict().items()}


def _network(nn: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.2),
        nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(64, 10),
    )  # fmt: skip


def _moved(torch: Any, batch: Any) -> Any:
    """Return the batch, each image turned, scaled and shifted a little at random."""
    n = len(batch)
    angle = (torch.rand(n) - 0.5) * 0.35
    scale = 1 + (torch.rand(n) - 0.5) * 0.2
    shift = (torch.rand(n, 2) - 0.5) * 0.3
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    affine = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], dim=1).reshape(n, 2, 3)
    grid = torch.nn.functional.affine_grid(affine, batch.shape, align_corners=False)
    return torch.nn.functional.grid_sample(batch, grid, align_corners=False)


def to_onnx(weights: dict[str, np.ndarray]) -> bytes:
    """Return the model as ONNX; `weights` are named as `_network` numbers its layers."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    names = {"0": "conv1", "2": "conv2", "5": "conv3", "10": "dense1", "13": "dense2"}
    initializers = [
        numpy_helper.from_array(np.ascontiguousarray(value), f"{names[name.split('.')[0]]}.{name.split('.')[1]}")
        for name, value in weights.items()
    ]

    def node(op: str, source: str, target: str, layer: str = "", **attributes: Any) -> Any:
        inputs = [source, f"{layer}.weight", f"{layer}.bias"] if layer else [source]
        return helper.make_node(op, inputs, [target], name=target, **attributes)

    conv = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        node("Conv", "image", "conv1", "conv1", **conv), node("Relu", "conv1", "relu1"),
        node("Conv", "relu1", "conv2", "conv2", **conv), node("Relu", "conv2", "relu2"),
        node("MaxPool", "relu2", "pool1", **pool),
        node("Conv", "pool1", "conv3", "conv3", **conv), node("Relu", "conv3", "relu3"),
        node("MaxPool", "relu3", "pool2", **pool),
        node("Flatten", "pool2", "flat", axis=1),
        node("Gemm", "flat", "dense1", "dense1", transB=1), node("Relu", "dense1", "relu4"),
        node("Gemm", "relu4", "dense2", "dense2", transB=1),
        node("Softmax", "dense2", "probabilities", axis=1),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])],
        initializers,
    )
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, producer_name="aegisrt", ir_version=IR_VERSION, opset_imports=opset)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def accuracy(model: bytes, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of `images` that ONNX Runtime, running `model`, labels rightly."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {"image": images})
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def main(arguments: list[str]) -> None:
    """Train, write the three files, and print what came of it."""
    parser = argparse.ArgumentParser(description="Train the packaged digits model.")
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--validate", action="store_true", help="hold out a part of the training part; write nothing")
    options = parser.parse_args(arguments)
    images, labels = load()
    training, held_out = split(labels)
    if options.validate:
        images, labels = images[training], labels[training]
        training, held_out = split(labels)
    model = to_onnx(train(images[training], labels[training]))
    print(f"accuracy on {len(held_out)} held-out images: {accuracy(model, images[held_out], labels[held_out]):.4f}")
    if not options.validate:
        write(options.folder, model, images[held_out], labels[held_out])


def write(folder: Path, model: bytes, images: np.ndarray, labels: np.ndarray) -> None:
    """Write the model, its held-out images and their labels, and print the size and sha256 of each."""
    (folder / "digits.onnx").write_bytes(model)
    np.save(folder / "digits.images.npy", images)
    np.save(folder / "digits.labels.npy", labels)
    for name in ("digits.onnx", "digits.images.npy", "digits.labels.npy"):
        data = (folder / name).read_bytes()
        print(f"{name}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main(sys.argv[1:])
