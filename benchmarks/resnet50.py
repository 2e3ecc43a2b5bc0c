"""ResNet-50 with weights that mean nothing, for measuring accelerators: it takes as long as any.

Its batch norms are settled on noise, so that activations stay in the range of half precision, and
its last layer is steep, so that a class is clearly the best one.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

CLASSES = 1000
SIZE = 224
BLOCKS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # width, how many, stride of the first
EXPANSION = 4
STEEP = 8.0
SEED = 5


class Bottleneck(nn.Module):
    """Three convolutions and a shortcut (He et al., 2015), with the stride at the 3x3."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.path = nn.Sequential(
            *_convolution(inputs, width, 1),
            nn.ReLU(),
            *_convolution(width, width, 3, stride),
            nn.ReLU(),
            *_convolution(width, outputs, 1),
        )
        self.shortcut = (
            nn.Sequential(*_convolution(inputs, outputs, 1, stride))
            if stride != 1 or inputs != outputs
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, 4 * width, H / stride, W / stride)."""
        return torch.relu(self.path(x) + self.shortcut(x))


class ResNet50(nn.Module):
    """float32 (N, 3, 224, 224) to (N, 1000) logits; 25.6 million weights, 4.1 GFLOP an image."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            *_convolution(3, 64, 7, 2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        ]
        inputs = 64
        for width, count, stride in BLOCKS:
            for number in range(count):
                layers.append(Bottleneck(inputs, width, stride if number == 0 else 1))
                inputs = width * EXPANSION
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.features = nn.Sequential(*layers)
        self.classify = nn.Linear(inputs, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (N, 1000)."""
        logits: Tensor = self.classify(self.features(x))
        return logits


def resnet50() -> ResNet50:
    """The network without its weights."""
    return ResNet50()


def write_checkpoint(file: Path) -> None:
    """Write weights for ``resnet50``; the same ones every time."""
    torch.manual_seed(SEED)
    network = ResNet50()
    norms = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean of what is seen
    with torch.no_grad():
        network.train()(torch.randn(8, 3, SIZE, SIZE))
        network.classify.weight.mul_(STEEP)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.eval().state_dict(), file)


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> tuple[nn.Module, ...]:
    layer = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    return layer, nn.BatchNorm2d(outputs)
