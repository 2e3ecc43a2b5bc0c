"""Speed: batches measured in a process of their own, stages in a pod."""

from __future__ import annotations

import psutil
import pytest

from analyzer import speed, speed_pod
from analyzer.errors import AnalyzerError
from analyzer.local import Place
from predictor.types import DecodeLimits
from tests.analyzer.colour_sets import files, local, surveyed, write_folder
from tests.conftest import quiet

LIMITS = DecodeLimits(50_000_000, 2)
STAGES = ["receive", "decode", "queue", "copy", "infer", "collect", "respond"]


@pytest.fixture
def seen(tmp_path):
    """A few images, one of them broken."""
    return surveyed(write_folder(tmp_path / "set", files(5) | {"red/x.png": b"none"}))


def test_a_variant_is_measured_in_batches_and_in_a_pod(colours, seen, monkeypatch):
    """With its memory; and what decoding this dataset takes, though nothing was classified."""
    monkeypatch.setattr("analyzer.speed_pod.ASKED_S", 1.0)
    model = local(colours)
    speed.time_decoding(model, seen)

    found = speed.measure([model], seen, {}, quiet)["colours"]

    (variant,) = found.variants
    assert [batch.batch_size for batch in variant.batches] == [1, 2, 4, 8, 16, 32]
    assert all(0 < batch.latency_s <= batch.p99_s for batch in variant.batches)
    assert variant.memory_bytes > 0
    assert variant.file_bytes == (colours.path / variant.file).stat().st_size
    assert [stage.stage for stage in found.stages] == STAGES
    assert [stage.stage for stage in found.stages if not stage.capacity] == []
    assert found.bottleneck in STAGES
    best = max(batch.images_per_second for batch in variant.batches)
    assert found.cores_per_device == pytest.approx(best * model.decode_time.seconds_per_image)
    assert found.note.startswith("feed one instance of one thread with ")
    assert psutil.Process().children(recursive=True) == []


def test_the_note_says_what_feeds_a_device_and_what_limits():
    """In the words of the report."""
    gpu, cores = Place("cuda", 4, LIMITS, scaled=True), Place("cpu", 2, LIMITS, scaled=True)
    pod = {"bottleneck": "decode", "capacity": 541.2, "by_cores": False}

    assert speed.note(7.4, gpu, pod) == (
        "feed one of these with 7.4 cores; a pod here could do 541 images/s, limited by decode"
    )
    assert speed.note(0.13, cores, pod | {"by_cores": True}) == (
        "feed one instance of one thread with 0.1 cores; a pod here could do 541 images/s, "
        "limited by the cores (decode takes most of them)"
    )
    assert speed.note(None, gpu, {}) == "no image of the dataset could be decoded"


def test_without_an_image_no_pod_is_asked(colours, tmp_path):
    """Nor started."""
    seen = surveyed(write_folder(tmp_path / "t", {"t.csv": b"none.png,red"}) / "t.csv")

    assert speed_pod.stages(local(colours), seen) == {}


def test_a_device_that_is_not_there_is_said_in_one_line(colours, seen):
    """By whichever process meets it first."""
    model = local(colours)
    model.place = Place("rocm", 1, LIMITS, scaled=True)

    with pytest.raises(AnalyzerError, match="device rocm: this ONNX Runtime has no"):
        speed.of_model(model, seen, {})
    with pytest.raises(AnalyzerError, match=r"a pod to measure does not start: .*rocm"):
        speed_pod.stages(model, seen)
