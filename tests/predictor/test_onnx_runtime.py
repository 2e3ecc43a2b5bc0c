"""ONNX Runtime as a runtime: its providers, and what it is told."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from predictor.errors import OutOfMemoryError, StartupError
from predictor.runtimes.onnx import OnnxRuntime
from predictor.runtimes.providers import PROVIDERS, largest_batch, names, options

SHAPE = (224, 192, 3)


def load(package, device_kind: str = "cpu") -> OnnxRuntime:
    """The package's graph on a device."""
    manifest = package.manifest
    file = package.path / manifest.variants[0].file
    return OnnxRuntime(file, device_kind, 1, manifest.input.shape)


def test_a_failing_run_never_moves_to_the_cpu(colours):
    """ONNX Runtime would do so by itself, for good, and the pod would look well."""
    assert load(colours)._session._enable_fallback is False


@pytest.mark.parametrize(
    ("kind", "package"),
    [
        ("cuda", "onnxruntime-gpu"),
        ("tensorrt", "onnxruntime-gpu"),
        ("rocm", "onnxruntime-migraphx"),
        ("migraphx", "onnxruntime-migraphx"),
        ("openvino", "onnxruntime-openvino"),
    ],
)
def test_a_provider_that_is_not_there_is_named_with_what_to_install(
    colours, monkeypatch, kind, package
):
    """On AMD, ONNX Runtime has MIGraphX only."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])

    with pytest.raises(StartupError, match=rf"has no {PROVIDERS[kind].name} .*install {package},"):
        load(colours, kind)


def test_a_provider_that_does_not_start_is_an_error(colours, monkeypatch):
    """Not the CPU instead."""
    real = ort.InferenceSession

    def without(graph, settings, *, providers, enable_fallback):
        return real(graph, settings, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", without)
    with pytest.raises(StartupError, match="CUDAExecutionProvider does not start here"):
        load(colours, "cuda")


def test_every_provider_has_its_options():
    """One set each, in the same order."""
    for kind in PROVIDERS:
        assert len(options(kind, 1, SHAPE)) == len(names(kind))
    (cuda,) = options("cuda", 1, SHAPE)
    assert cuda["cudnn_conv_algo_search"] == "HEURISTIC"
    assert options("openvino", 6, SHAPE)[0]["num_of_threads"] == "6"


def test_tensorrt_builds_one_engine_for_all_batches_and_keeps_it(monkeypatch, tmp_path):
    """In a folder that nobody else can write to; what it cannot run CUDA does."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    tensorrt, cuda = options("tensorrt", 1, SHAPE)

    assert names("tensorrt") == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    assert tensorrt["trt_profile_min_shapes"] == "image:1x224x192x3"
    assert tensorrt["trt_profile_max_shapes"] == f"image:{largest_batch('tensorrt')}x224x192x3"
    assert cuda == options("cuda", 1, SHAPE)[0]
    (folder,) = tmp_path.iterdir()
    assert tensorrt["trt_engine_cache_path"] == str(folder)
    folder.chmod(0o777)
    with pytest.raises(StartupError, match="open to others"):
        options("tensorrt", 1, SHAPE)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to allocate memory for requested buffer of size 1"),
        RuntimeError("BFCArena::AllocateRawInternal\nCUDA failure 2: out of memory"),
        RuntimeError("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
)
def test_without_memory_a_smaller_batch_may_be_tried(colours, monkeypatch, error):
    """ONNX Runtime has no exception for it, only words."""
    runtime = load(colours)

    class Exhausted:
        def run(self, *_: object) -> None:
            raise error

    monkeypatch.setattr(runtime, "_session", Exhausted())
    with pytest.raises(OutOfMemoryError) as raised:
        runtime.run(np.zeros((2, *colours.manifest.input.shape), np.uint8))
    assert str(raised.value)
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)
