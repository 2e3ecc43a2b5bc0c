"""PyTorch networks for tests, as users write them."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Two convolutions and a shortcut without weights (option A of the ResNet paper)."""

    def __init__(self, planes_in: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(planes_in, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.stride, self.more = stride, planes - planes_in

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Every second pixel, and planes of zeros on both sides, where the shape changes."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride > 1:
            side = self.more // 2
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, side, side))
        return functional.relu(y + x)


class ResNet20(nn.Module):
    """ResNet-20 for 32x32 images."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(Block(16, 32, 2), Block(32, 32, 1), Block(32, 32, 1))
        self.layer3 = nn.Sequential(Block(32, 64, 2), Block(64, 64, 1), Block(64, 64, 1))
        self.linear = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def resnet20(classes: int = 10) -> nn.Module:
    """A factory, as ``millrace package`` calls one."""
    return ResNet20(classes)


class Small(nn.Module):
    """A convolution and a linear layer over four classes, for 8x8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.linear(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


def small() -> nn.Module:
    """A factory with weights that are always the same."""
    torch.manual_seed(5)
    return Small()


class TwoOutputs(Small):
    """Gives its features as well."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features first."""
        features = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        return {"features": features[:, :2], "logits": self.linear(features)}


def two_outputs() -> nn.Module:
    """A factory."""
    torch.manual_seed(5)
    return TwoOutputs()


def lazy() -> nn.Module:
    """A factory whose network does not know its own shapes yet."""
    network = Small()
    network.linear = nn.LazyLinear(4)
    return network


def on_meta() -> nn.Module:
    """A factory whose network has shapes and no memory."""
    return Small().to("meta")


def not_a_network() -> object:
    """What a factory must not give."""
    return {}


def failing() -> nn.Module:
    """What a factory must not do."""
    raise OSError("no weights\nhere")


class Colours(nn.Module):
    """Logits = mean of each colour channel times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), 10.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return x.mean((2, 3)) * self.weight
