"""A network that costs next to nothing, so that what is left of a request is the wire."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx

from benchmarks.failing_network import with_failures
from benchmarks.models import Model
from study.tiny_package import CLASSES, mean_colour_network


def idle_model(like: Model, size: int, folder: Path, *, failing: bool = False) -> Model:
    """A model for the photos of ``like``: mean colour at ``size`` by ``size``, times a matrix.

    Its network and labels are written into ``folder``. One that is ``failing`` does so at images
    of the colours of ``failing_network``.
    """
    name = f"failing{size}" if failing else f"idle{size}"
    folder.mkdir(parents=True, exist_ok=True)
    network, labels = folder / f"{name}.onnx", folder / "labels.txt"
    idle = mean_colour_network(size)
    onnx.save(with_failures(idle, low=-1.0) if failing else idle, network)
    labels.write_text("".join(f"class {number}\n" for number in range(CLASSES)), encoding="utf-8")
    return replace(
        like,
        name=name,
        source=str(network.resolve()),
        labels=str(labels.resolve()),
        package_options=f"--input-size {size} --resize exact --mean 127.5 --std 127.5",
        frontends=1,
        instances=1,
    )
