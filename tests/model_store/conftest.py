"""Tiny networks for odd cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from model_store.package import ModelPackage
from model_store.packaging import package
from model_store.request import PackageRequest
from tests.conftest import quiet

TINY_SIZE = 8
TINY_CLASSES = 4


@dataclass(frozen=True)
class TinyNetwork:
    """A linear classifier over the mean colour, shaped in whatever odd way a test needs."""

    layout: str = "NCHW"
    dtype: int = TensorProto.FLOAT
    batch: str | int = "batch"
    size: tuple[int | str, int | str] = (TINY_SIZE, TINY_SIZE)
    channels: int | str = 3
    input_name: str = "x"
    output_name: str = "y"
    opset: int = 13
    softmax: bool = False
    flat_reshape: bool = False
    batch_mean: bool = False
    extra_output: bool = False
    weights_are_inputs: bool = False

    def model(self) -> onnx.ModelProto:
        """The network as ONNX."""
        planes = self.layout == "NCHW"
        half = self.dtype == TensorProto.FLOAT16
        kind = np.float16 if half else np.float32
        weight = np.random.default_rng(7).normal(size=(3, TINY_CLASSES)).astype(kind)
        weights = [numpy_helper.from_array(weight, "w")]
        nodes, value = [], self.input_name
        if self.dtype == TensorProto.UINT8:
            nodes.append(helper.make_node("Cast", [value], ["cast"], to=TensorProto.FLOAT))
            value = "cast"
        if not planes:
            nodes.append(helper.make_node("Transpose", [value], ["planes"], perm=[0, 3, 1, 2]))
            value = "planes"
        if self.batch_mean:
            nodes.append(helper.make_node("ReduceMean", [value], ["mean"], axes=[0], keepdims=1))
            nodes.append(helper.make_node("Sub", [value, "mean"], ["centred"]))
            value = "centred"
        nodes.append(helper.make_node("GlobalAveragePool", [value], ["pooled"]))
        if self.flat_reshape:
            batch = self.batch if isinstance(self.batch, int) else 1
            weights.append(numpy_helper.from_array(np.array([batch, 3], np.int64), "flat_shape"))
            nodes.append(helper.make_node("Reshape", ["pooled", "flat_shape"], ["flat"]))
        else:
            nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], axis=1))
        last = "logits" if self.softmax else self.output_name
        nodes.append(helper.make_node("MatMul", ["flat", "w"], [last]))
        if self.softmax:
            nodes.append(helper.make_node("Softmax", [last], [self.output_name], axis=1))
        real = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        outputs = [
            helper.make_tensor_value_info(self.output_name, real, [self.batch, TINY_CLASSES])
        ]
        if self.extra_output:
            outputs.append(helper.make_tensor_value_info("flat", real, [self.batch, 3]))
        shape = [self.batch, self.channels, *self.size]
        if not planes:
            shape = [self.batch, *self.size, self.channels]
        inputs = [helper.make_tensor_value_info(self.input_name, self.dtype, shape)]
        if self.weights_are_inputs:
            inputs += [helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in weights]
        graph = helper.make_graph(nodes, "tiny", inputs, outputs, weights)
        opsets = [helper.make_opsetid("", self.opset)]
        version = 3 if self.weights_are_inputs else 8
        return helper.make_model(graph, opset_imports=opsets, ir_version=version)

    def but(self, **changes: object) -> TinyNetwork:
        """The same network, changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Workbench:
    """A folder with labels and a few images, and requests for networks put into it."""

    folder: Path
    store: Path

    def request(self, model: onnx.ModelProto | TinyNetwork, **settings: object) -> PackageRequest:
        """A request to package ``model``, saved as ``tiny.onnx``, with pixels scaled to 0..1."""
        source = self.folder / "tiny.onnx"
        network = model.model() if isinstance(model, TinyNetwork) else model
        onnx.save_model(network, str(source))
        return self.request_for(source, **settings)

    def request_for(self, source: Path, **settings: object) -> PackageRequest:
        """A request to package the file ``source``."""
        given: dict[str, object] = {"scale": 1 / 16, "mean": (4.0, 6.0, 8.0), **settings}
        return PackageRequest(
            source=source,
            name="tiny",
            labels=self.folder / "labels.txt",
            parity_images=self.folder / "images",
            **given,
        )

    def package(self, model: onnx.ModelProto | TinyNetwork, **settings: object) -> ModelPackage:
        """Package ``model``."""
        return package(self.request(model, **settings), self.store, quiet)

    def left_behind(self) -> list[Path]:
        """Whatever is in the store."""
        return sorted(self.store.rglob("*"))


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    """A workbench with five noise images of one dominant colour each."""
    (tmp_path / "labels.txt").write_text("ash\nbirch\ncedar\ndogwood\n", encoding="utf-8")
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(3)
    for number in range(5):
        colour = rng.integers(0, 256, 3)
        noise = rng.integers(-40, 40, (12, 10, 3))
        pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    return Workbench(tmp_path, tmp_path / "store")


@pytest.fixture
def tiny() -> TinyNetwork:
    """The plain tiny network; ``tiny.but(...)`` gives an odd one."""
    return TinyNetwork()


@pytest.fixture
def refuses(bench: Workbench) -> Callable[..., str]:
    """Package something that must be refused: gives the one line, and checks the store is clean."""

    def attempt(request: PackageRequest, error: type[Exception]) -> str:
        with pytest.raises(error) as caught:
            package(request, bench.store, quiet)
        line = str(caught.value)
        assert "\n" not in line
        assert bench.left_behind() == []
        return line

    return attempt
