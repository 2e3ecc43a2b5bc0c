"""The demo's networks: a first one, a better one, one that learnt next to nothing, a slow one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnx

from examples import digits
from examples.slow_network import slowed

FIRST_EPOCHS, EPOCHS, WORSE_EPOCHS = 2, 8, 1
# Some 100 to 250 ms of a core for a digit, where the others take less than one: on two cores the
# share that it gets first is about what it can do, so that it is late alone and more so in company.
SLOW_LAYERS = 80


def make(
    scans: digits.Digits, folder: Path, told: Callable[[str, digits.Epoch], None]
) -> dict[str, float]:
    """Train and write ``first.onnx``, ``digits.onnx``, ``worse.onnx`` and ``slow.onnx``.

    Args:
        scans: to train on, and to measure with.
        folder: where to.
        told: hears of each pass of each training.

    Returns:
        Accuracy on the held-out digits, by file.
    """
    found = {}
    for name, epochs in (("first", FIRST_EPOCHS), ("worse", WORSE_EPOCHS), ("digits", EPOCHS)):
        network = digits.train(scans.train, epochs, partial(told, name))
        digits.export(network, folder / f"{name}.onnx")
        found[f"{name}.onnx"] = digits.accuracy(network, scans.test)
    slow = slowed(onnx.load_model(folder / "digits.onnx"), SLOW_LAYERS)
    onnx.save_model(slow, folder / "slow.onnx")
    return found | {"slow.onnx": found["digits.onnx"]}
