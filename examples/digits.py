"""Scikit-learn's scanned handwritten digits as JPEGs, and a small residual network that reads them.

The network trains on pixels decoded from the JPEGs, because that is what it will be served.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

LABELS = tuple("0123456789")
SIZE = 32
MEAN = STD = 127.5  # the network sees (pixel - MEAN) / STD, from -1 to 1
HELD_OUT = 0.25
SEED = 7
BATCH_SIZE = 64
MAX_SHIFT = 2  # pixels a training image may move either way
LEARNING_RATE = 4e-3


@dataclass(frozen=True, slots=True)
class Scan:
    """One digit on disk and what it shows."""

    file: Path
    label: str


@dataclass(frozen=True, slots=True)
class Digits:
    """The rendered digits, in two parts that share no image."""

    train: tuple[Scan, ...]
    test: tuple[Scan, ...]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one pass over the training digits came to."""

    number: int
    loss: float
    seconds: float


def render(folder: Path, count: int | None = None) -> Digits:
    """Write the digits as ``folder/{train,test}/LABEL/NNNN.jpg``, the same files every time.

    ``count`` takes only the first so many of the 1,797 scans. The split keeps every digit's share.
    """
    scans = load_digits()
    pixels, labels = scans.images[:count], scans.target[:count]
    train, test = train_test_split(
        np.arange(len(labels)), test_size=HELD_OUT, random_state=SEED, stratify=labels
    )

    def part(name: str, numbers: NDArray[np.int64]) -> tuple[Scan, ...]:
        return tuple(
            _render_one(folder / name, int(number), pixels[number], LABELS[labels[number]])
            for number in sorted(numbers)
        )

    return Digits(train=part("train", train), test=part("test", test))


def _render_one(folder: Path, number: int, scan: NDArray[np.float64], label: str) -> Scan:
    file = folder / label / f"{number:04d}.jpg"
    file.parent.mkdir(parents=True, exist_ok=True)
    grey = np.rint(scan * (255 / 16)).astype(np.uint8)  # (8, 8), the scans count up to 16
    image = Image.fromarray(grey).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    image.convert("RGB").save(file, quality=92)
    return Scan(file, label)


class Block(nn.Module):
    """Two convolutions around a shortcut; the first may halve the picture."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        return torch.relu(self.path(x) + self.shortcut(x))


class DigitNet(nn.Module):
    """A residual network of 7 layers: float32 (N, 3, 32, 32) from -1 to 1, to (N, 10) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            Block(16, 16, stride=1),
            Block(16, 32, stride=2),
            Block(32, 64, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, len(LABELS)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (N, 10)."""
        logits: Tensor = self.layers(x)
        return logits


def train(
    scans: tuple[Scan, ...], epochs: int, on_epoch: Callable[[Epoch], None] = lambda _: None
) -> DigitNet:
    """A network trained on ``scans``; the same scans give the same network.

    ``on_epoch`` hears of each pass as it ends.
    """
    inputs, targets = _tensors(scans)
    torch.manual_seed(SEED)
    network = DigitNet()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    steps = epochs * -(-len(scans) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    network.train()
    for number in range(1, epochs + 1):
        started = time.perf_counter()
        losses = []
        for chosen in torch.split(torch.randperm(len(scans)), BATCH_SIZE):
            loss = nn.functional.cross_entropy(network(_shift(inputs[chosen])), targets[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        on_epoch(Epoch(number, sum(losses) / len(losses), time.perf_counter() - started))
    return network.eval()


def accuracy(network: DigitNet, scans: tuple[Scan, ...]) -> float:
    """The share of ``scans`` that ``network`` names rightly, from 0 to 1."""
    inputs, targets = _tensors(scans)
    with torch.inference_mode():
        return float((network(inputs).argmax(dim=1) == targets).float().mean())


def export(network: nn.Module, file: Path, size: int = SIZE) -> None:
    """Write ``network`` as ONNX: ``input`` float32 [batch, 3, size, size] to ``logits``."""
    example = torch.zeros(2, 3, size, size)  # two, because torch takes a batch of one for constant
    file.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # torch 2.13 compares tree specs the way its own pytree deprecates.
        warnings.filterwarnings("ignore", r".*LeafSpec", FutureWarning)
        # It also says, once per operator, that it cannot export torchvision's: none is used here.
        logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
        torch.onnx.export(
            network,
            (example,),
            file,
            input_names=["input"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _tensors(scans: tuple[Scan, ...]) -> tuple[Tensor, Tensor]:
    pixels = np.stack(list(_decoded(scans)))  # (N, 32, 32, 3) uint8
    inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().sub(MEAN).div(STD)
    return inputs.contiguous(), torch.tensor([LABELS.index(scan.label) for scan in scans])


def _decoded(scans: tuple[Scan, ...]) -> Iterator[NDArray[np.uint8]]:
    for scan in scans:
        with Image.open(scan.file) as image:
            yield np.asarray(image.convert("RGB"))


def _shift(images: Tensor) -> Tensor:
    """A batch moved by a few pixels, so that the network does not learn positions by heart."""
    down, right = torch.randint(-MAX_SHIFT, MAX_SHIFT + 1, (2,)).tolist()
    return torch.roll(images, (down, right), dims=(2, 3))
