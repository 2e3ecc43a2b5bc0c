"""PyTorch as a runtime, on real exported programs."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from predictor.errors import OutOfMemoryError, StartupError
from predictor.runtimes.torch import TorchRuntime

SIZE, CLASSES, TOP_K = 16, 10, 3
LARGEST = 64


class ServingGraph(torch.nn.Module):
    """A small convolutional network in the shape that packaging gives one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.convolution = torch.nn.Conv2d(3, 8, 3)
        self.linear = torch.nn.Linear(8, CLASSES)
        self.register_buffer("mean", torch.tensor([120.0, 110.0, 100.0]).view(1, 3, 1, 1))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Cast, normalise, classify, softmax, top-k."""
        pixels = (image.permute(0, 3, 1, 2).float() - self.mean) / 60
        features = torch.relu(self.convolution(pixels)).mean((2, 3))
        scores, indices = torch.softmax(self.linear(features), 1).topk(TOP_K)
        return {"indices": indices, "scores": scores}


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """The graph, exported for any batch up to 64."""
    file = tmp_path_factory.mktemp("torch") / "model.pt2"
    example = torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=LARGEST)
    exported = torch.export.export(ServingGraph().eval(), (example,), dynamic_shapes=({0: batch},))
    torch.export.save(exported, file)
    return file


def images(count: int) -> np.ndarray:
    """Noise: uint8 (n, 16, 16, 3)."""
    shape = (count, SIZE, SIZE, 3)
    return np.random.default_rng(count).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 2, 5, LARGEST])
def test_answers_are_those_of_the_network_itself(program, count):
    """For every batch size, in the types that go on the wire."""
    runtime = TorchRuntime(program, "cpu", 1, "fp32")

    answers = runtime.run(images(count))

    with torch.inference_mode():
        expected = ServingGraph().eval()(torch.from_numpy(images(count)))
    assert (answers.indices.dtype, answers.scores.dtype) == (np.int64, np.float32)
    np.testing.assert_array_equal(answers.indices, expected["indices"].numpy())
    np.testing.assert_allclose(answers.scores, expected["scores"].numpy(), rtol=1e-4)
    runtime.close()


def test_half_precision_gives_nearly_the_same(program):
    """bfloat16 has three digits."""
    exact = TorchRuntime(program, "cpu", 1, "fp32").run(images(4))
    rough = TorchRuntime(program, "cpu", 1, "bf16").run(images(4))

    np.testing.assert_allclose(rough.scores, exact.scores, atol=0.02)


def test_without_memory_a_smaller_batch_may_be_tried(program, monkeypatch):
    """PyTorch's own exception becomes the one that batches are halved on."""
    runtime = TorchRuntime(program, "cpu", 1, "fp32")

    def exhausted(_: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(runtime, "_module", exhausted)
    with pytest.raises(OutOfMemoryError, match="Tried to allocate"):
        runtime.run(images(2))


def test_a_gpu_that_is_not_there_is_an_error(program):
    """Never the CPU instead."""
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(StartupError, match="finds no such GPU"):
        TorchRuntime(program, "cuda", 1, "fp32")


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("code was run",))


def rewritten(program: Path, to: Path, change) -> Path:
    """The archive with its entries passed through ``change``."""
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(to, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
        extra = change("", b"")
        if extra:
            new.writestr("model/" + extra[0], extra[1])
    return to


def pickled_weight(name: str, content: bytes):
    """A weight that would be unpickled."""
    if name.endswith("model_weights_config.json"):
        config = json.loads(content)
        next(iter(config["config"].values()))["use_pickle"] = True
        return json.dumps(config).encode()
    return pickle.dumps(Trap()) if name.endswith("weight_0") else content or None


def pickled_inputs(name: str, content: bytes):
    """Sample inputs that only the unrestricted unpickler takes."""
    if not name.endswith("sample_inputs/model.pt"):
        return content or None
    saved = io.BytesIO()
    torch.save(Trap(), saved)
    return saved.getvalue()


def custom_object(name: str, content: bytes):
    """A constant that is an object."""
    if name.endswith("model_constants_config.json"):
        entry = {"path_name": "opaque_obj_0", "use_pickle": True, "is_param": False}
        return json.dumps({"config": {"evil": entry}}).encode()
    return content or None


def legacy_weights(name: str, content: bytes):
    """A file of the older format, which is a pickle as a whole."""
    return content if name else ("data/weights/model.pt", pickle.dumps(Trap()))


@pytest.mark.parametrize("change", [pickled_weight, pickled_inputs, custom_object, legacy_weights])
def test_a_program_that_would_run_code_is_refused(program, tmp_path, change):
    """Before the loader sees it; one line that names the entry."""
    evil = rewritten(program, tmp_path / "evil.pt2", change)

    with pytest.raises(StartupError, match=r"evil\.pt2: .*(pickle|plain|not expected)"):
        TorchRuntime(evil, "cpu", 1, "fp32")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04."])
def test_a_file_that_is_no_program_is_refused(tmp_path, content):
    """One line."""
    file = tmp_path / "model.pt2"
    file.write_bytes(content)

    with pytest.raises(StartupError, match=r"not a torch\.export program"):
        TorchRuntime(file, "cpu", 1, "fp32")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_gpu_answers_as_the_cpu_does(program, precision):
    """Also when a captured batch size is used again, and filled in part."""
    gpu, cpu = TorchRuntime(program, "cuda", 1, precision), TorchRuntime(program, "cpu", 1, "fp32")

    for count in (1, 3, 4, 8, 5, 8):
        answers, expected = gpu.run(images(count)), cpu.run(images(count))
        np.testing.assert_allclose(answers.scores, expected.scores, atol=0.02)
    gpu.close()
