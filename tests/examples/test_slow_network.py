"""A network that is only slow: the same answers to the bit, and work that is really done."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from examples import slow_network
from examples.slow_network import CHANNELS, PREFIX, slowed
from tests.conftest import COLOUR_SIZE, colour_network

LAYERS = 3


def pixels(images: int) -> np.ndarray:
    """Noise, as the network gets it."""
    shape = (images, 3, COLOUR_SIZE, COLOUR_SIZE)
    return np.random.default_rng(3).random(shape, dtype=np.float32)


def run(network: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    """The scores of ONNX Runtime."""
    return onnxruntime.InferenceSession(network.SerializeToString()).run(None, {"x": images})[0]


@pytest.mark.parametrize("images", [1, 5])
def test_answers_are_the_same_to_the_bit(images):
    """So no gate that looks at answers sees a difference."""
    given = pixels(images)

    assert (run(slowed(colour_network(), LAYERS), given) == run(colour_network(), given)).all()


def test_the_optimiser_leaves_all_layers_in(tmp_path):
    """At every level that ONNX Runtime has; else it would not be slow."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    onnxruntime.InferenceSession(slowed(colour_network(), LAYERS).SerializeToString(), options)

    left = onnx.load(options.optimized_model_filepath).graph.node
    convolutions = [node for node in left if node.op_type in ("Conv", "FusedConv")]
    assert len(convolutions) >= LAYERS + 1


def test_it_is_a_command(tmp_path, monkeypatch):
    """One file in, the other out; the weights are those of one layer."""
    fast, slow = tmp_path / "fast.onnx", tmp_path / "slow.onnx"
    onnx.save_model(colour_network(), fast)
    monkeypatch.setattr(sys, "argv", ["slow_network", str(fast), str(slow), "--layers", "30"])

    assert slow_network.main() == 0

    written = onnx.load_model(slow)
    shapes = [tuple(w.dims) for w in written.graph.initializer if w.name == f"{PREFIX}next"]
    assert shapes == [(CHANNELS, CHANNELS, 3, 3)]
    assert sum(node.op_type == "Tanh" for node in written.graph.node) == 31
