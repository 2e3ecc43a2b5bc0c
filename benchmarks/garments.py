"""A ResNet that knows Fashion-MNIST's garments, trained on its 60,000 training images.

That takes some minutes of two cores, once: it is kept in var/.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from benchmarks.models import Model
from examples.digits import Block, export

FILE = Path("var/bench-garments/garments.onnx")
LABELS = tuple("0123456789")  # as the folders of the archives are called
SIZE = 28
MEAN = STD = 127.5
EPOCHS = 4
BATCH_SIZE = 128
LEARNING_RATE = 6e-3
SEED = 11


class GarmentNet(nn.Module):
    """A residual network of 13 layers: float32 (N, 3, 28, 28) from -1 to 1, to (N, 10) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            Block(16, 16, stride=1),
            Block(16, 32, stride=2),
            Block(32, 32, stride=1),
            Block(32, 64, stride=2),
            Block(64, 64, stride=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, len(LABELS)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (N, 10)."""
        logits: Tensor = self.layers(x)
        return logits


def trained(archive: Path, say: Callable[[str], None]) -> Path:
    """The network as ONNX; trained on ``archive`` where that has not been done yet."""
    if not FILE.exists():
        pixels, targets = _images(archive)
        network = _train(pixels, targets, say)
        FILE.parent.mkdir(parents=True, exist_ok=True)
        new = FILE.with_suffix(".new.onnx")
        export(network, new, SIZE)
        new.replace(FILE)
    return FILE


def model(assets: Path, say: Callable[[str], None]) -> Model:
    """The network as one to be measured; its photos are those of the archives."""
    labels = FILE.with_name("labels.txt")
    file = trained(assets / "images/fashion-mnist/train.zip", say).resolve()
    labels.write_text("".join(f"{label}\n" for label in LABELS), encoding="utf-8")
    return Model(
        name="garments",
        source=str(file),
        labels=str(labels.resolve()),
        parity_images="images/cifar10",
        package_options=(
            f"--input-size {SIZE} --resize exact --channels RGB --mean {MEAN},{MEAN},{MEAN} "
            f"--std {STD},{STD},{STD} --scores logits"
        ),
        photos=lambda _assets, _folder: [],
        frontends=1,
        instances=2,
    )


def _images(archive: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(N, 28, 28) uint8 and (N,) class indices."""
    pixels, targets = [], []
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            if name.endswith(".png"):
                with Image.open(io.BytesIO(opened.read(name))) as image:
                    pixels.append(np.asarray(image.convert("L")))
                targets.append(LABELS.index(Path(name).parent.name))
    return np.stack(pixels), np.asarray(targets, np.int64)


def _train(
    pixels: NDArray[np.uint8], targets: NDArray[np.int64], say: Callable[[str], None]
) -> GarmentNet:
    torch.manual_seed(SEED)
    inputs, wanted = torch.from_numpy(pixels), torch.from_numpy(targets)
    network = GarmentNet()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.02)
    steps = EPOCHS * -(-len(inputs) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    network.train()
    for epoch in range(1, EPOCHS + 1):
        losses = []
        for chosen in torch.split(torch.randperm(len(inputs)), BATCH_SIZE):
            loss = nn.functional.cross_entropy(network(_batch(inputs[chosen])), wanted[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        say(f"epoch {epoch} of {EPOCHS}: loss {sum(losses) / len(losses):.3f}")
    network.eval()
    return network


def _batch(pixels: Tensor) -> Tensor:
    """(N, 28, 28) uint8 to (N, 3, 28, 28) from -1 to 1, half of them mirrored."""
    mirrored = torch.rand(len(pixels)) < 0.5
    pixels = torch.where(mirrored[:, None, None], pixels.flip(2), pixels)
    scaled = pixels.float().sub(MEAN).div(STD)[:, None].expand(-1, 3, -1, -1)
    return scaled.contiguous()
