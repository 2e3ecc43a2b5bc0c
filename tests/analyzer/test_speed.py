"""Speed: measured in a process of its own, and reckoned with as a pod does."""

from __future__ import annotations

import pytest

from analyzer import speed
from analyzer.errors import AnalyzerError
from analyzer.local import Place
from analyzer.result import BatchSpeed
from predictor.types import DecodeLimits
from tests.analyzer.colour_sets import files, local, surveyed, write_folder
from tests.conftest import quiet

LIMITS = DecodeLimits(50_000_000, 2)


def batches(*latencies_s: float) -> list[BatchSpeed]:
    """Of 1, 2, 4, … images."""
    return [
        BatchSpeed(
            batch_size=2**place,
            images_per_second=2**place / seconds,
            latency_s=seconds,
            p99_s=seconds,
        )
        for place, seconds in enumerate(latencies_s)
    ]


def test_a_variant_is_measured_in_batches_with_its_memory(colours, tmp_path):
    """And what decoding this dataset takes, though nothing was classified."""
    model = local(colours)
    speed.time_decoding(model, surveyed(write_folder(tmp_path, files(5))))

    found = speed.measure([model], {}, quiet)["colours"]

    (variant,) = found.variants
    assert [batch.batch_size for batch in variant.batches] == [1, 2, 4, 8, 16, 32]
    assert all(0 < batch.latency_s <= batch.p99_s for batch in variant.batches)
    assert variant.memory_bytes > 0
    assert variant.file_bytes == (colours.path / variant.file).stat().st_size
    by_name = {stage.stage: stage for stage in found.stages}
    assert list(by_name) == ["receive", "decode", "queue", "copy", "infer", "collect", "respond"]
    assert by_name["decode"].capacity > 0
    assert by_name["infer"].capacity > 0
    assert found.bottleneck in ("decode", "infer")
    assert found.note.startswith("feed one instance of one thread with ")


def test_a_fast_device_wants_many_cores():
    """1,000 images a second of 7.4 ms decoding each: 7.4 cores, and decode limits 4."""
    place = Place("cuda", 4, LIMITS, scaled=True)
    found = speed.balanced(batches(0.004, 0.005, 0.008, 0.008, 0.016), 0.0074, 1e-5, place)

    assert found.bottleneck.name == "decode"
    assert found.capacity == pytest.approx(4 / 0.0074, rel=0.01)
    assert speed.note(7.4, place, found) == (
        "feed one of these with 7.4 cores; 541 images/s on 4 cores, limited by decode"
    )


def test_on_cores_decoding_and_inference_share_them():
    """2 cores, 1 ms to decode and 3 ms to infer: 500 images a second, whoever does it."""
    place = Place("cpu", 2, LIMITS, scaled=True)
    found = speed.balanced(batches(0.003, 0.006, 0.012), 0.001, 0.003, place)

    assert found.by_cores
    assert found.bottleneck.name == "infer"
    assert found.capacity == pytest.approx(500, rel=0.01)


def test_what_cannot_be_measured_is_said_in_one_line(colours):
    """As on a device that is not there."""
    model = local(colours)
    model.place = Place("rocm", 1, LIMITS, scaled=True)

    with pytest.raises(AnalyzerError, match="device rocm: this ONNX Runtime has no"):
        speed.of_model(model, {})
